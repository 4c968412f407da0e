//! The program itself, as a process with a clean environment, on ports that the system chooses.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attribute_gateway::genesys::HttpClientSettings;
use bytes::Bytes;
use http::{Request, Response};
use rustix::process::{Pid, Resource, Rlimit};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// A process that does not get somewhere within this time never will.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two looks at something that is to happen.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How a process that ended by itself went.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub code: i32,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

/// A running process. It is killed when this is dropped.
pub struct Process {
    child: Child,
    written: Arc<Mutex<String>>,
    collectors: [JoinHandle<()>; 2],
}

/// Runs the program until it ends.
pub async fn once(args: &[&str], env: &[(&str, &str)]) -> Ended {
    let output = tokio::time::timeout(PROCESS_TIMEOUT, command(args, env).output()).await;
    let output = output.expect("it ends").expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended {
        code: output.status.code().expect("it was not killed"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attribute-gateway"));
    command.args(args).env_clear().envs(env.iter().copied()).stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

impl Process {
    /// Starts the program, both servers of it on any free port.
    pub fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let any_port =
            [("GATEWAY__SERVER__BIND", "127.0.0.1:0"), ("GATEWAY__SIMULATOR__BIND", "127.0.0.1:0")];
        let mut command = command(args, &[any_port.as_slice(), env].concat());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let written = Arc::<Mutex<String>>::default();
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let collectors = [
            tokio::spawn(collect(out, Arc::clone(&written))),
            tokio::spawn(collect(err, Arc::clone(&written))),
        ];
        Self { child, written, collectors }
    }

    /// `demo`, and what is printed up to its end.
    pub async fn demo(args: &[&str], env: &[(&str, &str)]) -> Demo {
        let process = Self::start(&[&["demo"], args].concat(), env);
        let banner = process.wrote("Ctrl-C ends it.").await;
        // Log lines may come before.
        let lines = banner.lines().filter(|line| !line.starts_with('{'));
        let words = lines.flat_map(str::split_whitespace);
        let mut urls = words.filter_map(|word| word.find("http").map(|at| &word[at..]));
        let mut url = || urls.next().expect("two URLs").trim_matches([',', ')']).to_owned();
        Demo { gateway: url(), simulator: url(), banner, process }
    }

    /// Waits until it has written this, and returns all of its output.
    pub async fn wrote(&self, text: &str) -> String {
        until(&format!("it writes `{text}`"), async || {
            let written = self.written();
            written.contains(text).then_some(written)
        })
        .await
    }

    /// Everything written up to now.
    pub fn written(&self) -> String {
        self.written.lock().expect("no holder panics").clone()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let id = self.id();
        let sent =
            std::process::Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status();
        assert!(sent.expect("there is a shell").success());
    }

    /// Lets no file of it grow over so many bytes.
    pub fn limit_files(&self, bytes: u64) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        let limit = Rlimit { current: Some(bytes), maximum: None };
        rustix::process::prlimit(Some(id), Resource::Fsize, limit).expect("lowered");
    }

    /// Waits for its end, and for the last that it wrote.
    pub async fn ended(&mut self) -> ExitStatus {
        let end = async {
            for collector in &mut self.collectors {
                collector.await.expect("it does not panic");
            }
            self.child.wait().await.expect("a child")
        };
        tokio::time::timeout(PROCESS_TIMEOUT, end).await.expect("it ends")
    }
}

/// A running `demo`.
pub struct Demo {
    /// The process.
    pub process: Process,
    /// URL of the gateway.
    pub gateway: String,
    /// URL of the simulator.
    pub simulator: String,
    /// What it printed.
    pub banner: String,
}

impl Demo {
    /// What the simulator's control API shows.
    pub async fn sim(&self, path: &str) -> Value {
        let answer = fetch("GET", &format!("{}/__sim/{path}", self.simulator), "").await;
        serde_json::from_slice(answer.body()).expect("JSON")
    }

    /// Changes a setting of the simulator.
    pub async fn set(&self, settings: Value) {
        let url = format!("{}/__sim/settings", self.simulator);
        assert_eq!(fetch("PATCH", &url, settings.to_string()).await.status(), 200);
    }
}

/// Sends a request; `body` is JSON.
pub async fn fetch(method: &str, url: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json")
        .body(body.into())
        .expect("a request");
    let transport =
        HttpClientSettings::new(PROCESS_TIMEOUT, 16 << 20).transport().expect("a client");
    tokio::time::timeout(PROCESS_TIMEOUT, transport.send(request))
        .await
        .expect("an answer")
        .expect(url)
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PROCESS_TIMEOUT, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

async fn collect(from: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut into = into.lock().expect("no holder panics");
        into.push_str(&line);
        into.push('\n');
    }
}
