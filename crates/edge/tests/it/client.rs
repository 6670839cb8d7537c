//! A small HTTP client over one kept connection, and a running edge to talk to.
//!
//! In: paths.  Out: status, head and body as they came.
//! Start at [`Running`].

use std::net::SocketAddr;
use std::time::Duration;

use edge::{DrainReport, Edge, EdgeConfig, EdgeError, ShutdownTrigger, shutdown_channel};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Far more than anything here takes, so that a hang fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}{}", self.head, self.body))
    }

    pub fn item_ids(&self) -> Vec<String> {
        let items = self.json()["items"].as_array().unwrap_or_else(|| panic!("no items: {}", self.body)).clone();
        items.iter().map(|item| item["item_id"].as_str().unwrap().to_owned()).collect()
    }
}

pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    /// Sends GET and reads one answer; an error when the server closes first.
    pub async fn try_get(&mut self, path: &str) -> Result<Answer, String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        match tokio::time::timeout(PATIENCE, self.read_answer()).await {
            Ok(answer) => answer,
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Sends a request with a body and reads one answer.
    pub async fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: edge\r\n{headers}content-length: {length}\r\n\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await.unwrap();
        tokio::time::timeout(PATIENCE, self.read_answer()).await.expect("an answer in time").unwrap()
    }

    async fn read_answer(&mut self) -> Result<Answer, String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.read[..end + 4].to_vec()).unwrap();
                // A 204 and a 304 have no body (RFC 9112, section 6.3).
                let is_empty = head.starts_with("HTTP/1.1 204") || head.starts_with("HTTP/1.1 304");
                let length = head
                    .to_lowercase()
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next().and_then(|digits| digits.parse::<usize>().ok()));
                let total = end + 4 + length.or(is_empty.then_some(0)).ok_or_else(|| format!("no length: {head}"))?;
                if self.read.len() >= total {
                    let body = String::from_utf8(self.read[end + 4..total].to_vec()).unwrap();
                    self.read.drain(..total);
                    let status = head.split(' ').nth(1).and_then(|digits| digits.parse().ok()).unwrap();
                    return Ok(Answer { status, head, body });
                }
            }
            let mut bytes = [0_u8; 16 * 1024];
            let count = self.stream.read(&mut bytes).await.map_err(|error| error.to_string())?;
            if count == 0 {
                return Err(format!("closed after {} bytes", self.read.len()));
            }
            self.read.extend_from_slice(&bytes[..count]);
        }
    }
}

/// An open stream of server-sent events.
pub struct Events {
    stream: TcpStream,
    read: String,
    pub head: String,
}

impl Events {
    pub async fn open(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\nAccept: text/event-stream\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Self { stream, read: String::new(), head: String::new() };
        while !events.read.contains("\r\n\r\n") {
            assert!(events.fill().await, "no head: {}", events.read);
        }
        let end = events.read.find("\r\n\r\n").unwrap() + 4;
        events.head = events.read.drain(..end).collect();
        events
    }

    async fn fill(&mut self) -> bool {
        let mut bytes = vec![0_u8; 64 * 1024];
        let count = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("bytes in time");
        let count = count.unwrap_or(0);
        // The lines that frame chunks are hexadecimal or empty between line ends; events never hold a carriage return.
        self.read.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }

    /// The next block of lines that is not a chunk's frame; `None` at the end.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            let plain = self.read.replace("\r\n", "\u{1}");
            let text: String = plain.split('\u{1}').filter(|part| !is_chunk_size(part)).collect();
            if let Some(end) = text.find("\n\n") {
                // Frames of what was taken are gone; what is left has none before it.
                self.read = text[end + 2..].to_owned();
                return Some(text[..end].to_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next event that has data.
    pub async fn next_data(&mut self) -> Option<String> {
        loop {
            let event = self.next().await?;
            if event.contains("data: ") {
                return Some(event);
            }
        }
    }
}

fn is_chunk_size(part: &str) -> bool {
    part.len() <= 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub struct Running {
    pub address: SocketAddr,
    pub trigger: ShutdownTrigger,
    pub server: JoinHandle<DrainReport>,
}

impl Running {
    /// Starts an edge on a free port that looks for news every 20 ms.
    pub async fn start(mut config: EdgeConfig) -> Result<Self, EdgeError> {
        config.listen = "127.0.0.1:0".to_owned();
        config.service.poll_interval = Duration::from_millis(20);
        let edge = Edge::start(config).await?;
        let (trigger, shutdown) = shutdown_channel();
        let address = edge.address();
        Ok(Self { address, trigger, server: tokio::spawn(edge.serve(shutdown)) })
    }

    pub async fn get(&self, path: &str) -> Answer {
        Client::connect(self.address).await.try_get(path).await.unwrap()
    }

    pub async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        Client::connect(self.address).await.send("POST", path, headers, body.as_bytes()).await
    }

    /// Asks until `is_reached`.
    pub async fn wait_until(&self, path: &str, is_reached: impl Fn(&Answer) -> bool) -> Answer {
        let asking = async {
            loop {
                let answer = self.get(path).await;
                if is_reached(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => panic!("not reached: {}", self.get(path).await.body),
        }
    }
}
