//! `metrics-server health`: requests the health of the server that runs here.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server may take to answer.
const RESPONSE_MAX: Duration = Duration::from_secs(5);

/// Asks the server that listens at `listen` whether it can record.
///
/// # Errors
///
/// What it says, or that it does not answer.
pub(super) async fn check_health(listen: SocketAddr) -> Result<(), Box<dyn Error>> {
    let request = async {
        let mut socket = TcpStream::connect(&*reachable(listen)).await?;
        socket.write_all(b"GET /health/ready HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(RESPONSE_MAX, request).await.map_err(|_| "the server does not answer")?;
    let answer =
        answer.map_err(|err| format!("the server at {listen} cannot be reached: {err}"))?;
    match answer.lines().next() {
        Some(status) if status.split(' ').nth(1) == Some("200") => Ok(()),
        status => Err(format!("the server answered {}", status.unwrap_or("nothing")).into()),
    }
}

/// The addresses at which a server that listens there may be reached from here.
fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    let here: &[IpAddr] = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => &[Ipv4Addr::LOCALHOST.into()],
        // It takes both, and a container may have only the first.
        IpAddr::V6(ip) if ip.is_unspecified() => {
            &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        ip => &[ip],
    };
    here.iter().map(|ip| SocketAddr::new(*ip, listen.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_checked_on_the_loopback_address() {
        let reachable_from = |listen: &str| -> Vec<String> {
            let reachable_from = reachable(listen.parse().unwrap());
            reachable_from.iter().map(ToString::to_string).collect()
        };
        assert_eq!(reachable_from("0.0.0.0:3000"), ["127.0.0.1:3000"]);
        assert_eq!(reachable_from("[::]:3000"), ["127.0.0.1:3000", "[::1]:3000"]);
        assert_eq!(reachable_from("192.0.2.1:80"), ["192.0.2.1:80"]);
    }
}
