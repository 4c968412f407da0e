//! The service over the simulator, in one process and without sockets: the default way to test.
//!
//! ```ignore
//! let app = TestApp::new().with_lag("200ms").with_fault(Fault::on_patch(throttle(2))).start().await;
//! let answer = app.put(CALL, json!({"attributes": {"tier": "gold"}})).await;
//! answer.assert_status(200);
//! ```
//!
//! Tests run with `#[tokio::test(start_paused = true)]`: a wait costs nothing, and the time it took
//! is exact. When an app is dropped, the simulator must have no fault left and have seen no request
//! that it does not know.

mod answer;
mod authority;
mod broken_store;
mod budget;
mod call;
mod clients;
mod collector;
mod defect;
mod log_events;
mod masking;
mod process;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attribute_gateway::config::{self, Config, LogFormat};
use attribute_gateway::genesys::{JitterSource, in_process};
use attribute_gateway::service::{
    ClientSource, Replicas, Service, ServiceParts, StoreParts, span_export,
};
use attribute_gateway::telemetry::{
    CapturedLog as Log, LogLineFormat, LogOutput, SpanExport, TelemetryOutput,
};
use axum::Router;
use axum::body::Body;
use axum::middleware::{Next, from_fn};
use genesys_simulator::{RequestKind, ScriptedFault, SimulatedCall, Simulator, SimulatorSettings};
use http::Request;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;
use tower::ServiceExt as _;

pub use answer::Answer;
use broken_store::BrokenStore;
pub use budget::UnlimitedBudget;

pub use authority::{Authority, Identity};
pub use call::{AGENT, CALL, CUSTOMER, IVR, customer_call};
pub use clients::{client, replace, shown};
pub use collector::{Collector, attribute};
pub use defect::{app_settings, defective, defective_in_patch, defective_once};
pub use log_events::WriteExchange;
pub use process::{Demo, Ended, Process, fetch, once, until};
pub use records::MemoryOutput;

/// The `Authorization` headers that a platform was sent.
pub type Overheard = Arc<Mutex<BTreeSet<String>>>;

/// Name of the file of clients.
const CLIENTS: &str = "clients.toml";

/// A service under test, being put together.
#[must_use]
pub struct Builder {
    env: BTreeMap<String, String>,
    settings: SimulatorSettings,
    calls: Vec<SimulatedCall>,
    faults: Vec<ScriptedFault>,
    seed: u64,
    leftovers_allowed: bool,
    overheard: Overheard,
    records: Option<MemoryOutput>,
    collector: Option<Collector>,
    clients: Option<TempDir>,
    store: Option<StoreParts>,
}

/// A running service, and the platform behind it.
pub struct TestApp {
    /// The platform.
    pub simulator: Simulator,
    /// What the service wrote to its log. Only events of this thread.
    pub logs: Log,
    /// The audit of its writes.
    pub records: MemoryOutput,
    /// Where its spans go.
    pub collector: Collector,
    spans: Option<SpanExport>,
    service: Service,
    router: Router,
    seed: u64,
    ready: Instant,
    leftovers_allowed: bool,
    clients: Option<TempDir>,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl TestApp {
    /// A service over a platform with one live call, [`CALL`].
    #[expect(clippy::new_ret_no_self, reason = "reads as the scenario: TestApp::new().with_…")]
    pub fn new() -> Builder {
        let settings =
            SimulatorSettings { latency: ms(20), lag: ms(100), ..SimulatorSettings::default() };
        Builder {
            env: BTreeMap::from([
                ("GENESYS_CLIENT_ID".into(), settings.client_id.clone()),
                ("GENESYS_CLIENT_SECRET".into(), settings.client_secret.clone()),
                ("RUST_LOG".into(), "trace".into()),
                // So that it fits into the deadlines of tests; ten seconds would not.
                ("GATEWAY__VERIFY__SETTLE".into(), "1s".into()),
            ]),
            settings,
            calls: vec![customer_call()],
            faults: Vec::new(),
            seed: 7,
            leftovers_allowed: false,
            overheard: Overheard::default(),
            records: None,
            collector: None,
            clients: None,
            store: None,
        }
    }

    /// `GET` of a path.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(Body::empty()).expect("a request")).await
    }

    /// `POST` of this JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let request = request("POST", path).header("content-type", "application/json");
        self.send(request.body(body.to_string().into()).expect("a request")).await
    }

    /// `GET` of a path, accepting this alone.
    pub async fn get_as(&self, accept: &str, path: &str) -> Answer {
        let request = request("GET", path).header("accept", accept);
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    /// `GET …/attributes` of a conversation; `query` starts with `?` or is empty.
    pub async fn read(&self, conversation: &str, query: &str) -> Answer {
        self.get(&format!("{}{query}", attributes_of(conversation))).await
    }

    /// `PUT …/attributes?…` of a conversation with these attributes.
    pub async fn write(&self, conversation: &str, query: &str, attributes: Value) -> Answer {
        let body = serde_json::json!({ "attributes": attributes }).to_string();
        self.put(&format!("{}{query}", attributes_of(conversation)), &[], body).await
    }

    /// `PUT` with these headers and this body.
    pub async fn put(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = request("PUT", path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    /// Any method with these headers and this body.
    pub async fn ask(
        &self,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).expect("a request")).await
    }

    /// Sends any request, and measures how long the answer took.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let start = Instant::now();
        let answer = self.router.clone().oneshot(request).await.expect("infallible");
        Answer::read(answer, start.elapsed()).await
    }

    /// The file of clients.
    pub fn clients_file(&self) -> PathBuf {
        self.clients.as_ref().expect("callers are known").path().join(CLIENTS)
    }

    /// The service itself.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The routes, for requests that are sent side by side.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The true attributes of a participant, upstream's lag ignored.
    pub fn truth(&self, participant: &str) -> BTreeMap<String, String> {
        self.simulator.attributes(CALL, participant).expect("the participant exists")
    }

    /// How many API calls upstream has seen, the token's not counted.
    pub fn upstream_calls(&self) -> usize {
        self.simulator.count(RequestKind::Read) + self.simulator.count(RequestKind::Patch)
    }

    /// The body of each PATCH so far.
    pub fn patches(&self) -> Vec<Value> {
        let calls = self.simulator.calls();
        calls
            .into_iter()
            .filter(|call| call.kind == RequestKind::Patch)
            .filter_map(|call| call.body)
            .collect()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let unknown = self.simulator.count(RequestKind::Other);
        assert_eq!(unknown, 0, "requests to paths that the platform does not have");
        if !self.leftovers_allowed {
            assert_eq!(self.simulator.faults_left(), 0, "a scripted fault was not met");
        }
    }
}

impl Builder {
    /// Sets a configuration key, as an operator would in the environment.
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Knows only these clients, each a table as [`client`] makes it.
    pub fn with_clients(mut self, clients: &[String]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join(CLIENTS);
        std::fs::write(&file, clients.concat()).expect("written");
        self.clients = Some(folder);
        self.with_env("GATEWAY__AUTH__CLIENTS_FILE", file.to_str().expect("text"))
    }

    /// Changes the platform.
    pub fn with_settings(mut self, change: impl FnOnce(&mut SimulatorSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Reads show a write only after this long.
    pub fn with_lag(self, lag: Duration) -> Self {
        self.with_settings(|settings| settings.lag = lag)
    }

    /// A budget of so many calls a minute, in place of that of a real token.
    pub fn with_budget(self, requests_per_minute: u64) -> Self {
        self.with_env("GATEWAY__GENESYS__REQUESTS_PER_MINUTE", &requests_per_minute.to_string())
    }

    /// Every write reads first, however lately somebody else has.
    pub fn reading_first(self) -> Self {
        self.with_env("GATEWAY__WRITES__WARM_FOR", "0s")
    }

    /// Adds a conversation to [`CALL`], or replaces it.
    pub fn with_call(mut self, call: SimulatedCall) -> Self {
        self.calls.push(call);
        self
    }

    /// No conversation but those added.
    pub fn without_calls(mut self) -> Self {
        self.calls.clear();
        self
    }

    /// Scripts a fault.
    pub fn with_fault(mut self, fault: ScriptedFault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Seeds the jitter of the service.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Faults may be left over at the end, because chance decides.
    pub fn allowing_leftovers(mut self) -> Self {
        self.leftovers_allowed = true;
        self
    }

    /// Notes every `Authorization` header that reaches the platform.
    pub fn overheard_by(mut self, ears: &Overheard) -> Self {
        self.overheard = Arc::clone(ears);
        self
    }

    /// Has a store that fails.
    pub fn with_broken_store(mut self) -> Self {
        self.store = Some(StoreParts { answers: Arc::new(BrokenStore), journal: None });
        self
    }

    /// Has its writes recorded there.
    pub fn recorded_in(mut self, records: &MemoryOutput) -> Self {
        self.records = Some(records.clone());
        self
    }

    /// Exports spans to this collector.
    pub fn traced_by(mut self, collector: &Collector) -> Self {
        self.collector = Some(collector.clone());
        self.with_env("GATEWAY__TRACING__ENDPOINT", "http://collector.test")
    }

    /// Starts the service, and waits for its first token or the failure to get one.
    pub async fn start(self) -> TestApp {
        let (config, credentials) = self.config();
        let replicas = Replicas::open(&config, &credentials).await.expect("a sound server");
        let mut app = self.launch(replicas);
        app.service.started().await;
        app.ready = Instant::now();
        app
    }

    /// Starts the service, which then fetches its first token.
    pub fn start_without_token(self) -> TestApp {
        self.launch(None)
    }

    #[expect(clippy::too_many_lines, reason = "one scenario, step by step")]
    fn launch(self, replicas: Option<Replicas>) -> TestApp {
        let (config, loaded) = self.config();
        let simulator = simulated(self.settings, self.calls, self.faults);
        let is_text = config.log.format == LogFormat::Text;
        let format = if is_text { LogLineFormat::Text } else { LogLineFormat::Json };
        let (output, logs) = LogOutput::captured();
        let telemetry = TelemetryOutput::new(output, format, &config.log.level).expect("a filter");
        let subscriber = tracing::dispatcher::set_default(telemetry.dispatch());
        let collector = self.collector.unwrap_or_default();
        let spans = span_export(&config.tracing, Some(in_process(collector.router(), 1024)));
        let spans = spans.expect("a sound endpoint");
        let parts = ServiceParts {
            transport: in_process(
                listened_to(simulator.router(), self.overheard),
                config.genesys.max_response_bytes.get(),
            ),
            jitter: JitterSource::seeded(self.seed),
            log: telemetry.losses().clone(),
            audit: self.records.clone().map(|records| Box::new(records) as _),
            tls: None,
            client_registry: ClientSource::from_auth(&config.auth).expect("sound callers"),
            spans: spans.clone(),
            replicas,
            store: self.store.unwrap_or_else(|| {
                StoreParts::open(&config.store, &loaded).expect("a usable store")
            }),
        };
        let service = Service::build(&config, &loaded, parts);
        TestApp {
            simulator,
            logs,
            records: self.records.unwrap_or_default(),
            collector,
            spans,
            router: service.router(),
            service,
            seed: self.seed,
            ready: Instant::now(),
            leftovers_allowed: self.leftovers_allowed,
            clients: self.clients,
            _subscriber: subscriber,
        }
    }

    fn config(&self) -> (Config, config::OauthCredentials) {
        let source = config::ConfigSource { file: None, env: self.env.clone() };
        let config = config::load(&source).expect("a sound configuration").config;
        let credentials = config.credentials().expect("both are set");
        (config, credentials)
    }
}

/// The platform, with these calls and faults.
fn simulated(
    settings: SimulatorSettings,
    calls: Vec<SimulatedCall>,
    faults: Vec<ScriptedFault>,
) -> Simulator {
    let simulator = Simulator::new(settings);
    for call in calls {
        simulator.add_call(call).expect("a sound conversation");
    }
    for fault in faults {
        simulator.inject(fault);
    }
    simulator
}

/// The platform with an ear at its door.
fn listened_to(platform: Router, ears: Overheard) -> Router {
    platform.layer(from_fn(move |request: Request<Body>, next: Next| {
        let sent = request.headers().get(http::header::AUTHORIZATION).cloned();
        let sent = sent.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        ears.lock().expect("no holder panics").extend(sent);
        next.run(request)
    }))
}

/// Sends a request to a service, and measures how long the answer took.
pub async fn send(router: Router, request: Request<Body>) -> Answer {
    let start = Instant::now();
    let answer = router.oneshot(request).await.expect("infallible");
    Answer::read(answer, start.elapsed()).await
}

/// The path of a conversation's attributes.
pub fn attributes_of(conversation: &str) -> String {
    format!("/v1/conversations/{conversation}/attributes")
}

/// A request to be finished.
pub fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// Milliseconds.
pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
