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

    async fn read_answer(&mut self) -> Result<Answer, String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.read[..end + 4].to_vec()).unwrap();
                let length = head
                    .to_lowercase()
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|rest| rest.split("\r\n").next().and_then(|digits| digits.parse::<usize>().ok()));
                let total = end + 4 + length.ok_or_else(|| format!("no length: {head}"))?;
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
