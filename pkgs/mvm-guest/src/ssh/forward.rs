//! Channels to a TCP port or a socket, as `ssh -L` and editors open them.

use super::inbox::Chunk;
use crate::reaper::Reaper;
use bytes::BytesMut;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{ChannelOpenFailure, ChannelWriteHalf};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Where a channel is to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A TCP port of a host, by address or name.
    Tcp(String, u16),
    /// A socket in the file system.
    Socket(String),
}

/// A channel that a client asked for.
#[derive(Debug)]
pub struct Wires {
    /// What the client sends.
    pub input: mpsc::UnboundedReceiver<Chunk>,
    /// Where the answers go.
    pub output: ChannelWriteHalf<Msg>,
}

/// Connects to `target`, tells the client whether that went well, and passes on data until both sides are done.
pub async fn run(target: Target, wires: Wires, reply: ChannelOpenHandle, reaper: Reaper) {
    match target {
        Target::Tcp(host, port) => match connect(&host, port, &reaper).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                reply.accept().await;
                let (reader, writer) = stream.into_split();
                pass(wires, reader, writer).await;
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        },
        Target::Socket(path) => match UnixStream::connect(&path).await {
            Ok(stream) => {
                reply.accept().await;
                let (reader, writer) = stream.into_split();
                pass(wires, reader, writer).await;
            }
            Err(_) => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        },
    }
}

async fn pass(wires: Wires, mut reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
    let Wires { mut input, output } = wires;
    let towards = async {
        while let Some(chunk) = input.recv().await {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
        while input.recv().await.is_some() {}
    };
    let back = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(16 * 1024);
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if output.data_bytes(buffer.split().freeze()).await.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = output.eof().await;
    };
    tokio::join!(towards, back);
    let _ = output.close().await;
}

async fn connect(host: &str, port: u16, reaper: &Reaper) -> io::Result<TcpStream> {
    let attempt = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("no address for {host}"));
        for address in resolve(host, reaper).await? {
            match TcpStream::connect((address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    tokio::time::timeout(CONNECT_LIMIT, attempt).await?
}

/// The addresses of `host`.
///
/// Names are left to `getent`: a static program's own resolver would load the guest's name-service modules, built for
/// another C library.
async fn resolve(host: &str, reaper: &Reaper) -> io::Result<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") || host.is_empty() {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let mut command = Command::new("getent");
    command
        .args(["--", "ahosts", host])
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/run/current-system/sw/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let (mut child, _, exit) = reaper.spawn(&mut command)?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("getent has no output"))?;
    let mut text = String::new();
    pipe::Receiver::from_owned_fd(stdout.into())?.read_to_string(&mut text).await?;
    let _ = exit.await;
    Ok(parse_ahosts(&text))
}

/// The addresses in the output of `getent ahosts`, each once, in order.
fn parse_ahosts(text: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for address in text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_getent_is_understood() {
        let text = "10.0.0.1        STREAM example\n10.0.0.1        DGRAM\n10.0.0.1        RAW\n\
                    fd00::1         STREAM\nnonsense\n";
        let expected: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(parse_ahosts(text), expected);
    }

    #[tokio::test]
    async fn names_and_literals_resolve() {
        let reaper = Reaper::start(crate::reaper::Scope::Own).unwrap();
        assert_eq!(resolve("[::1]", &reaper).await.unwrap(), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert!(resolve("localhost", &reaper).await.unwrap().contains(&Ipv4Addr::LOCALHOST.into()));
        assert!(resolve("-s", &reaper).await.unwrap().is_empty());
    }
}
