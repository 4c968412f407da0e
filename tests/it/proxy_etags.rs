//! Behind a real proxy that compresses: nginx weakens every `ETag`, and writes with it must go through.

use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use attribute_gateway::genesys::HttpClientSettings;
use http::{Request, Response};

use crate::harness::{Process, attributes_of, ms, until};

/// The first call of the demonstration.
const CALL: &str = "11111111-1111-4111-8111-111111111111";

/// Where Debian puts it, which is in the path of root alone.
const PROGRAMS: [&str; 2] = ["nginx", "/usr/sbin/nginx"];

/// A running nginx. It is killed when this is dropped.
struct Nginx {
    child: Child,
    url: String,
    _files: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// Proxies to `upstream` and compresses every answer.
    fn compressing(upstream: &str) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let folder = files.path().display();
        let config = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{\n  access_log off;\n\
               client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
               fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;\n\
               scgi_temp_path {folder}/scgi;\n\
               gzip on; gzip_proxied any; gzip_min_length 1; gzip_types *;\n\
               server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; }} }}\n}}\n"
        );
        let file = files.path().join("nginx.conf");
        let mut written = std::fs::File::create(&file).expect("a file");
        written.write_all(config.as_bytes()).expect("it is written");
        let start = |program: &&str| {
            let mut nginx = Command::new(program);
            nginx.arg("-c").arg(&file).arg("-p").arg(files.path());
            nginx.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
        };
        let child = PROGRAMS.iter().find_map(start);
        let child = child.expect("this test needs nginx (on Debian: apt-get install nginx-light)");
        Self { child, url: format!("http://127.0.0.1:{port}"), _files: files }
    }

    async fn ask(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Response<bytes::Bytes> {
        let request =
            Request::builder().method(method).uri(format!("{}{}", self.url, attributes_of(CALL)));
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let transport = HttpClientSettings::new(ms(10_000), 1 << 20).transport().expect("a client");
        let request = request.body(body.into()).expect("a request");
        until("nginx answers", async || transport.send(request.clone()).await.ok()).await
    }
}

#[tokio::test]
async fn a_tag_that_nginx_has_weakened_can_be_used_for_a_write() {
    let demo = Process::demo(&[], &[]).await;
    let nginx = Nginx::compressing(&demo.gateway);
    let read = nginx.ask("GET", &[("accept-encoding", "gzip")], "").await;
    assert_eq!(read.status(), 200);
    let tag = read.headers()["etag"].to_str().expect("text").to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let known = nginx.ask("GET", &[("if-none-match", &tag)], "").await;
    assert_eq!(known.status(), 304);
    let headers = [("content-type", "application/json"), ("if-match", &tag)];
    let body = r#"{"attributes":{"tier":"by way of nginx"}}"#;
    assert_eq!(nginx.ask("PUT", &headers, body).await.status(), 200);
    let stale = nginx.ask("PUT", &headers, r#"{"attributes":{"tier":"again"}}"#).await;
    assert_eq!(stale.status(), 412);
}
