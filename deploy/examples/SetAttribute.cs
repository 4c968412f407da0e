// Sets one participant attribute of a live call: reads, decides, and writes on condition that the
// participant's attributes have not changed in between.
//
//   dotnet run SetAttribute.cs CONVERSATION KEY VALUE
//
// (.NET 10 runs a single file; for older versions, put it into a console project.)
// GATEWAY_URL (http://127.0.0.1:8080), GATEWAY_KEY (sent as Authorization: Bearer), GATEWAY_WAIT (how
// long one answer may take, 5 s) and PATIENCE (how long everything may take, 30 s) come from the
// environment. Exit status: 0 written; 1 refused, or out of time; 3 accepted, but not visible yet;
// 4 impossible: another writer's value stands, or the call has ended.

using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Net;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Threading.Tasks;

if (args.Length != 3)
{
    Console.Error.WriteLine("usage: SetAttribute CONVERSATION KEY VALUE");
    return 2;
}

string Setting(string name, string otherwise) => Environment.GetEnvironmentVariable(name) ?? otherwise;
var gateway = new Gateway(
    Setting("GATEWAY_URL", "http://127.0.0.1:8080"),
    Setting("GATEWAY_KEY", ""),
    int.Parse(Setting("GATEWAY_WAIT", "5")),
    TimeSpan.FromSeconds(int.Parse(Setting("PATIENCE", "30"))));
try
{
    var outcome = await gateway.ChangeAsync(args[0], args[1], _ => args[2]);
    Console.WriteLine(outcome);
    return outcome == "accepted" ? 3 : 0;
}
catch (OutOfPatienceException last)
{
    Console.Error.WriteLine($"out of patience: {last.Message}");
    return 1;
}
catch (RefusedException refused)
{
    Console.Error.WriteLine(refused.Message);
    return refused.Status == HttpStatusCode.Conflict ? 4 : 1;
}

/// <summary>The gateway refused, and a retry would not help.</summary>
sealed class RefusedException(HttpStatusCode status, string message) : Exception(message)
{
    public HttpStatusCode Status { get; } = status;
}

/// <summary>What happened last when time was up.</summary>
sealed class OutOfPatienceException(string message) : Exception(message);

sealed class Gateway
{
    private readonly HttpClient _http; // keeps connections; one for the whole program
    private readonly TimeSpan _patience;

    public Gateway(string url, string key, int wait, TimeSpan patience)
    {
        _patience = patience;
        _http = new HttpClient
        {
            BaseAddress = new Uri(url.TrimEnd('/') + "/"),
            Timeout = TimeSpan.FromSeconds(wait + 2),
        };
        _http.DefaultRequestHeaders.TryAddWithoutValidation("Prefer", $"wait={wait}");
        if (key.Length > 0)
        {
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }
    }

    /// <summary>
    /// Computes the new value from the old one with <paramref name="decide"/>, and writes it on condition that
    /// nothing has changed since the read. Returns the outcome: verified, unchanged, cleared or accepted.
    /// </summary>
    public async Task<string> ChangeAsync(string conversation, string key, Func<string, string> decide)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            TimeSpan wait;
            string why;
            try
            {
                // Every attempt begins with a read. If the result of the previous one is unknown, the
                // read shows it, and nothing is written twice.
                using var read = await CallAsync(HttpMethod.Get, conversation);
                if (read.StatusCode != HttpStatusCode.OK)
                {
                    (wait, why) = await NextAsync(read);
                }
                else
                {
                    var value = decide(await ValueAsync(read, key));
                    using var written = await WriteAsync(conversation, key, value, read.Headers.ETag);
                    if (written.StatusCode == HttpStatusCode.OK)
                    {
                        using var body = await BodyAsync(written);
                        return body.RootElement.GetProperty("outcomes").GetProperty(key).GetString()!;
                    }
                    if (written.StatusCode == HttpStatusCode.Accepted)
                    {
                        return await LookAsync(conversation, key, value, clock);
                    }
                    (wait, why) = await NextAsync(written);
                }
            }
            catch (Exception error) when (error is HttpRequestException or TaskCanceledException)
            {
                (wait, why) = (TimeSpan.FromSeconds(1), $"no answer ({error.Message})");
            }
            if (clock.Elapsed + wait > _patience)
            {
                throw new OutOfPatienceException(why);
            }
            Console.Error.WriteLine($"{why}; again in {wait.TotalSeconds} s");
            await Task.Delay(wait);
        }
    }

    /// <summary>How long to wait before starting again, and why; an exception if a retry would not help.</summary>
    private static async Task<(TimeSpan Wait, string Why)> NextAsync(HttpResponseMessage answer)
    {
        var problem = await ProblemAsync(answer);
        string Text(string member) =>
            problem.ValueKind == JsonValueKind.Object && problem.TryGetProperty(member, out var value)
                ? value.ToString() : "";
        var code = Text("code") is { Length: > 0 } known ? known : $"HTTP {(int)answer.StatusCode}";
        switch ((int)answer.StatusCode)
        {
            case 412: // another client was faster: read and decide again
                return (TimeSpan.FromSeconds(1), "changed meanwhile");
            case 409 when Text("retryable") == bool.TrueString: // the platform answered inconsistently
                return (TimeSpan.FromSeconds(1), code);
            case 429 or 503 or 504: // Retry-After is in whole seconds
                return (answer.Headers.RetryAfter?.Delta ?? TimeSpan.FromSeconds(1), code);
            default:
                throw new RefusedException(
                    answer.StatusCode,
                    $"{code}: {Text("message")} {Text("hint")} (request {Text("requestId")})");
        }
    }

    /// <summary>
    /// 202: the platform has accepted the write and does not show it yet. Writing again does not help;
    /// reading again does.
    /// </summary>
    private async Task<string> LookAsync(string conversation, string key, string value, Stopwatch clock)
    {
        while (clock.Elapsed + TimeSpan.FromSeconds(1) <= _patience)
        {
            await Task.Delay(TimeSpan.FromSeconds(1));
            using var read = await CallAsync(HttpMethod.Get, conversation);
            if (read.StatusCode == HttpStatusCode.OK && await ValueAsync(read, key) == value)
            {
                return "verified";
            }
        }
        return "accepted";
    }

    private Task<HttpResponseMessage> WriteAsync(
        string conversation, string key, string value, EntityTagHeaderValue? etag)
    {
        var body = JsonSerializer.Serialize(new Dictionary<string, object>
        {
            ["attributes"] = new Dictionary<string, string> { [key] = value },
        });
        return CallAsync(HttpMethod.Put, conversation, request =>
        {
            request.Content = new StringContent(body, Encoding.UTF8, "application/json");
            if (etag is not null)
            {
                request.Headers.IfMatch.Add(etag);
            }
        });
    }

    private Task<HttpResponseMessage> CallAsync(
        HttpMethod method, string conversation, Action<HttpRequestMessage>? change = null)
    {
        var path = $"v1/conversations/{Uri.EscapeDataString(conversation)}/attributes";
        var request = new HttpRequestMessage(method, path);
        change?.Invoke(request);
        return _http.SendAsync(request);
    }

    private static async Task<string> ValueAsync(HttpResponseMessage read, string key)
    {
        using var body = await BodyAsync(read);
        var attributes = body.RootElement.GetProperty("attributes");
        return attributes.TryGetProperty(key, out var value) ? value.GetString()! : "";
    }

    private static async Task<JsonDocument> BodyAsync(HttpResponseMessage answer) =>
        JsonDocument.Parse(await answer.Content.ReadAsStreamAsync());

    /// <summary>The problem in an error; empty if a proxy answered.</summary>
    private static async Task<JsonElement> ProblemAsync(HttpResponseMessage answer)
    {
        try
        {
            using var body = await BodyAsync(answer);
            return body.RootElement.Clone();
        }
        catch (JsonException)
        {
            return default;
        }
    }
}
