use std::sync::mpsc;

use super::*;

/// An output that blocks until it receives a message.
struct BlockedOutput {
    resume: mpsc::Receiver<()>,
    inner: LogCollector,
}

impl Write for BlockedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.resume.recv();
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output whose drop a test can await.
struct DropSignal {
    inner: LogCollector,
    _ended: mpsc::Sender<()>,
}

impl Write for DropSignal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn say(sink: &LogWriter, text: &str) {
    sink.line(|bytes| bytes.extend_from_slice(text.as_bytes()));
}

#[test]
fn lines_arrive_in_order_and_whole() {
    let (sink, captured) = LogWriter::captured(LogLineFormat::Text);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let sink = sink.clone();
            std::thread::spawn(move || {
                for line in 0..500 {
                    say(&sink, &format!("{writer} {line}"));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("no panic");
    }
    let text = captured.text();
    for writer in 0..4 {
        let own: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix(&format!("{writer} "))).collect();
        assert_eq!(own.len(), 500);
        assert!(own.iter().enumerate().all(|(at, line)| *line == at.to_string()));
    }
}

#[test]
fn a_line_leaves_without_a_flush() {
    let bytes = Arc::<Mutex<Vec<u8>>>::default();
    let sink = LogWriter::new(LogCollector(Arc::clone(&bytes)), LogLineFormat::Text);
    say(&sink, "one");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while bytes.lock().is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "nothing was written");
        std::thread::yield_now();
    }
}

#[test]
fn memory_is_bounded_and_lost_lines_are_counted() {
    let (resume_sender, resume) = mpsc::channel();
    let bytes = Arc::<Mutex<Vec<u8>>>::default();
    let blocked = BlockedOutput { resume, inner: LogCollector(Arc::clone(&bytes)) };
    let sink = LogWriter::new(blocked, LogLineFormat::Json);
    let line = "x".repeat(1023);
    for _ in 0..4096 {
        say(&sink, &line);
    }
    assert!(sink.shared.lock().bytes.len() <= BUFFER_CAPACITY);
    drop(resume_sender);
    sink.flush();
    let text = String::from_utf8(bytes.lock().clone()).expect("UTF-8");
    let kept = text.lines().filter(|at| *at == line).count();
    let lost: usize = text
        .lines()
        .filter(|line| line.contains("dropped"))
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect("JSON")["lines"].as_u64()
        })
        .map(|lines| usize::try_from(lines.expect("a number")).expect("fits"))
        .sum();
    assert!(lost > 0);
    assert_eq!(kept + lost, 4096);
}

#[test]
fn dropping_the_last_handle_writes_the_rest() {
    let bytes = Arc::<Mutex<Vec<u8>>>::default();
    let (done, ended) = mpsc::channel::<()>();
    let sink = LogWriter::new(
        DropSignal { inner: LogCollector(Arc::clone(&bytes)), _ended: done },
        LogLineFormat::Text,
    );
    say(&sink, "last words");
    drop(sink);
    assert!(ended.recv().is_err(), "the thread drops its output at its end");
    assert_eq!(*bytes.lock(), b"last words\n");
}

#[test]
fn a_line_that_is_too_long_is_left_out_and_reported() {
    for (format, report) in [
        (
            LogLineFormat::Json,
            r#"{"level":"WARN","target":"log","message":"a log line was left out because it was too long","bytes":32769}"#,
        ),
        (
            LogLineFormat::Text,
            "WARN log: a log line was left out because it was too long bytes=32769",
        ),
    ] {
        let (sink, log) = LogWriter::captured(format);
        sink.line(|bytes| bytes.extend_from_slice("a".repeat(MAX_LINE_BYTES - 1).as_bytes()));
        sink.line(|bytes| bytes.extend_from_slice("b".repeat(MAX_LINE_BYTES).as_bytes()));
        let text = log.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines[0].len(), lines[1], lines.len()), (MAX_LINE_BYTES - 1, report, 2));
    }
}

/// An output with room for a limited number of bytes.
struct LimitedDisk {
    room: Arc<Mutex<usize>>,
    inner: LogCollector,
}

impl Write for LimitedDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut room = self.room.lock();
        if *room == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        let count = bytes.len().min(*room);
        *room -= count;
        self.inner.write(&bytes[..count])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_lost_to_a_full_disk_are_counted_and_logged_later() {
    let (room, bytes) = (Arc::new(Mutex::new(8)), Arc::<Mutex<Vec<u8>>>::default());
    let disk = LimitedDisk { room: Arc::clone(&room), inner: LogCollector(Arc::clone(&bytes)) };
    let sink = LogWriter::new(disk, LogLineFormat::Text);
    say(&sink, "first");
    sink.flush();
    assert_eq!((sink.losses().lines(), sink.losses().fault()), (0, None));
    for line in ["second", "third"] {
        say(&sink, line);
        sink.flush();
    }
    let fault = sink.losses().fault().expect("the disk is full");
    assert_eq!(sink.losses().lines(), 2);
    assert_eq!(fault, io::Error::from(ErrorKind::StorageFull).to_string());
    *room.lock() = 1000;
    say(&sink, "fourth");
    sink.flush();
    assert_eq!((sink.losses().lines(), sink.losses().fault()), (2, None));
    let text = String::from_utf8(bytes.lock().clone()).expect("text");
    let report = losses_line(LogLineFormat::Text, 2);
    assert_eq!(text, format!("first\nse\nfourth\n{report}"));
}
