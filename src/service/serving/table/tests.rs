use std::time::Duration;

use tokio::time::advance;

use super::*;
use crate::http::paths;

fn table(connections: usize, per_address: usize) -> Arc<Table> {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let bounds = Bounds {
        connections,
        per_address,
        header_bytes: 8192,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        handshake_timeout: Duration::from_secs(5),
        answer_timeout: Duration::from_secs(7),
    };
    Arc::new(Table::new(bounds, trusted.into(), Metrics::new(paths::ALL)))
}

/// A connection that is served until it is ended.
fn connects(table: &Arc<Table>, address: &str) -> Option<Arc<Line>> {
    let address = SocketAddr::new(address.parse().expect("an address"), 1);
    let place = table.admit(address)?;
    let line = Arc::clone(place.line());
    let task = tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(place);
    });
    line.runs_as(task.abort_handle());
    Some(line)
}

fn ended(line: &Line) -> bool {
    !line.can_end()
}

async fn later(table: &Table, seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
    table.look();
}

fn counted(table: &Table, reason: &str) -> bool {
    let line = format!("attribute_gateway_connections_ended_total{{reason=\"{reason}\"}} 1");
    table.metrics.encode().expect("encodes").lines().any(|at| at == line)
}

#[tokio::test(start_paused = true)]
async fn over_its_share_an_address_loses_its_own_connection_that_waited_longest() {
    let table = table(10, 3);
    let other = connects(&table, "192.0.2.9").expect("a place");
    later(&table, 1).await;
    let mut own = Vec::new();
    for _ in 0..3 {
        own.push(connects(&table, "192.0.2.1").expect("a place"));
        later(&table, 1).await;
    }
    own[0].enter(Phase::Busy);
    let newcomer = connects(&table, "192.0.2.1").expect("a place");
    assert!(ended(&own[1]) && counted(&table, "displaced"));
    assert!([&own[0], &own[2], &other, &newcomer].iter().all(|line| !ended(line)));
    own[2].enter(Phase::Busy);
    newcomer.enter(Phase::Busy);
    assert!(connects(&table, "192.0.2.1").is_none(), "a request is under way on each");
    assert!(connects(&table, "192.0.2.2").is_some());
    let proxied = [0; 4].map(|_| connects(&table, "10.0.0.1").expect("a place"));
    assert!(proxied.iter().all(|line| !ended(line)), "a proxy has no share");
}

#[tokio::test(start_paused = true)]
async fn with_no_place_left_the_address_that_holds_most_makes_room() {
    let table = table(5, 4);
    let lonely = connects(&table, "192.0.2.1").expect("a place");
    later(&table, 1).await;
    let crowd = [0; 4].map(|_| connects(&table, "192.0.2.2").expect("a place"));
    let newcomer = connects(&table, "192.0.2.3").expect("a place");
    assert_eq!(crowd.iter().filter(|line| ended(line)).count(), 1);
    assert!(!ended(&lonely) && !ended(&newcomer));
    for line in crowd.iter().chain([&lonely, &newcomer]) {
        line.enter(Phase::Busy);
    }
    assert!(connects(&table, "192.0.2.4").is_none());
}

#[tokio::test(start_paused = true)]
async fn those_that_have_brought_no_request_make_room_before_the_kept_ones_of_others() {
    let table = table(50, 40);
    let pool = [0; 20].map(|_| connects(&table, "192.0.2.1").expect("a place"));
    for line in &pool {
        line.enter(Phase::Idle);
    }
    later(&table, 1).await;
    let mut strangers = Vec::new();
    for number in 0..200 {
        let address = format!("198.51.100.{number}");
        strangers.push(connects(&table, &address).expect("a place"));
        later(&table, 0).await;
        tokio::task::yield_now().await;
    }
    assert!(pool.iter().all(|line| !ended(line)), "who works here is left alone");
    assert_eq!(strangers.iter().filter(|line| !ended(line)).count(), 30);
    // Without files left, neither does one that has just come.
    let last = strangers.last().expect("many");
    table.make_room();
    assert!(!ended(last) && pool.iter().filter(|line| ended(line)).count() == 1);
    later(&table, 1).await;
    table.make_room();
    assert_eq!(strangers.iter().filter(|line| !ended(line)).count(), 29);
    // Where all have brought one, the pile makes room as ever.
    strangers.extend([1, 2].map(|_| connects(&table, "198.51.100.250").expect("a place")));
    for line in &strangers {
        line.enter(Phase::Idle);
    }
    let newcomer = connects(&table, "203.0.113.1").expect("a place");
    assert!(!ended(&newcomer) && pool.iter().filter(|line| ended(line)).count() == 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_ended_when_its_time_is_up_and_never_with_a_request_under_way() {
    let table = table(10, 10);
    let [silent, busy, idle, slow] = [0; 4].map(|_| connects(&table, "192.0.2.1").expect("one"));
    busy.enter(Phase::Busy);
    idle.enter(Phase::Idle);
    slow.enter(Phase::Idle);
    let dumb = connects(&table, "192.0.2.1").expect("one");
    dumb.enter(Phase::Handshake);
    later(&table, 4).await;
    assert!(!ended(&dumb));
    later(&table, 5).await;
    assert!(ended(&dumb) && !ended(&silent) && counted(&table, "handshakeTimeout"));
    slow.heard();
    later(&table, 1).await;
    assert!(ended(&silent) && !ended(&idle) && counted(&table, "headerTimeout"));
    later(&table, 8).await;
    assert!(!ended(&slow));
    later(&table, 1).await;
    assert!(ended(&slow) && !ended(&idle));
    later(&table, 55).await;
    assert!(!ended(&idle));
    later(&table, 1).await;
    assert!(ended(&idle) && !ended(&busy) && counted(&table, "idleTimeout"));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_an_answer_is_ended_and_who_takes_some_is_not() {
    let table = table(2, 2);
    let [silent, slow] = [0; 2].map(|_| connects(&table, "192.0.2.1").expect("one"));
    silent.enter(Phase::Busy);
    slow.enter(Phase::Answering);
    for line in [&silent, &slow] {
        line.takes(false);
    }
    assert!(connects(&table, "192.0.2.1").is_none(), "an answer is not cut for another");
    later(&table, 6).await;
    slow.takes(true);
    slow.takes(false);
    assert!(!ended(&silent));
    later(&table, 1).await;
    assert!(ended(&silent) && !ended(&slow) && counted(&table, "answerTimeout"));
    table.end_those_that_rest(Duration::ZERO);
    assert!(!ended(&slow));
    slow.took_all();
    table.end_those_that_rest(Duration::ZERO);
    assert!(ended(&slow));
}

#[tokio::test(start_paused = true)]
async fn places_are_free_again_when_connections_end() {
    let table = table(2, 2);
    for _ in 0..3 {
        let lines = [0; 2].map(|_| connects(&table, "192.0.2.1").expect("a place"));
        lines[0].enter(Phase::Busy);
        lines[1].enter(Phase::Idle);
        table.end_those_that_rest(Duration::from_secs(1));
        tokio::task::yield_now().await;
        assert!(!ended(&lines[0]) && ended(&lines[1]));
        assert!(connects(&table, "192.0.2.2").is_some());
        table.end_all();
        table.empty().await;
    }
    assert!(table.metrics.encode().expect("encodes").contains("attribute_gateway_connections 0\n"));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_those_who_have_just_come_are_not_taken_for_resting() {
    let table = table(10, 10);
    let [old, resting] = [0; 2].map(|_| connects(&table, "192.0.2.1").expect("a place"));
    later(&table, 1).await;
    let [new, head, greeting] = [0; 3].map(|_| connects(&table, "192.0.2.1").expect("a place"));
    resting.enter(Phase::Idle);
    head.enter(Phase::Head);
    greeting.enter(Phase::Handshake);
    table.end_those_that_rest(Duration::from_secs(1));
    assert!(ended(&old) && ended(&resting));
    assert!([&new, &head, &greeting].iter().all(|line| !ended(line)));
}
