//! A network between clients and their broker that can fail.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Bytes that are carried at once.
const CHUNK: usize = 8 * 1024;

/// Chunks that are on their way at most: a network that is slower than its clients holds them back.
const ON_THE_WAY: usize = 64;

/// Where bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What clients send.
    ToBroker,
    /// What the broker sends.
    FromBroker,
}

/// What a network does to the bytes that it carries, both ways unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// It carries them.
    Clear,
    /// Connections are closed, new ones at once.
    Cut,
    /// Bytes vanish, ends of connections too; connections stay, and new ones are taken.
    BlackHole,
    /// What goes this way vanishes, the rest arrives.
    HalfOpen(Way),
    /// All arrives, so much later.
    Delayed(Duration),
    /// So many bytes in a second arrive, on each connection.
    Slow(u32),
}

impl Network {
    /// Returns whether what goes this way vanishes.
    pub fn loses(self, way: Way) -> bool {
        self == Self::BlackHole || self == Self::HalfOpen(way)
    }

    /// Returns how long a number of bytes takes at a limited rate.
    pub(crate) fn pace(self, bytes: usize) -> Duration {
        match self {
            Self::Slow(rate) => Duration::from_secs_f64(bytes as f64 / f64::from(rate.max(1))),
            _ => Duration::ZERO,
        }
    }
}

/// A TCP proxy before a broker, to disturb what goes through it.
///
/// A connection that has lost bytes is dead: it carries nothing more this way, whatever the network does later, as after a firewall has
/// forgotten it. What was idle meanwhile goes on. Dropping the proxy closes all connections.
///
/// ```no_run
/// # async fn test() -> std::io::Result<()> {
/// use binder_core::testkit::{Network, Proxy};
///
/// let proxy = Proxy::to("localhost:5672").await?;
/// let url = format!("amqp://guest:guest@{}/%2f", proxy.address());
/// proxy.set(Network::BlackHole);
/// // what does a client of `url` do now?
/// proxy.set(Network::Clear);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Leads from a free port on loopback to `target`, `host:port`. Needs a tokio runtime, on which it runs.
    pub async fn to(target: impl Into<String>) -> io::Result<Self> {
        Self::between("127.0.0.1:0", target).await
    }

    /// Leads from `listen`, `host:port`, to `target`: for brokers that tell their clients where they are to be reached.
    pub async fn between(listen: &str, target: impl Into<String>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let network = watch::Sender::new(Network::Clear);
        let accepting = tokio::spawn(accept(listener, target.into(), network.clone())).abort_handle();
        Ok(Self { address, network, accepting })
    }

    /// Returns where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the network does, from the next byte on.
    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.network.send_replace(Network::Cut);
    }
}

async fn accept(listener: TcpListener, target: String, network: watch::Sender<Network>) {
    while let Ok((client, _)) = listener.accept().await {
        // a broker that is away closes the connection
        tokio::spawn(connect(client, target.clone(), network.subscribe()));
    }
}

/// Carries one connection to its end.
async fn connect(client: TcpStream, target: String, mut network: watch::Receiver<Network>) -> io::Result<()> {
    let seen = network.clone();
    let carried = async {
        let broker = TcpStream::connect(target).await?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
        let dead = AtomicBool::new(false);
        let there = Stream { way: Way::ToBroker, network: seen.clone(), dead: &dead };
        let back = Stream { way: Way::FromBroker, network: seen, dead: &dead };
        tokio::try_join!(there.carry(from_client, to_broker), back.carry(from_broker, to_client)).map(drop)
    };
    tokio::select! {
        _ = network.wait_for(|network| *network == Network::Cut) => Ok(()),
        carried = carried => carried,
    }
}

/// One way of a connection.
struct Stream<'a> {
    way: Way,
    network: watch::Receiver<Network>,
    /// Whether the connection has lost bytes in any way: then no end of one side is told to the other.
    dead: &'a AtomicBool,
}

impl Stream<'_> {
    async fn carry(self, from: OwnedReadHalf, to: OwnedWriteHalf) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(ON_THE_WAY);
        let ended = tokio::try_join!(self.take(from, sender), give(receiver, to));
        match ended {
            Err(_) if self.dead.load(SeqCst) => pending().await,
            ended => ended.map(drop),
        }
    }

    /// Reads, at the network's pace, and says when it is to arrive.
    async fn take(&self, mut from: OwnedReadHalf, sender: mpsc::Sender<(Instant, Vec<u8>)>) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut lost = false;
        loop {
            let count = from.read(&mut chunk).await?;
            let network = *self.network.borrow();
            if network.loses(self.way) {
                self.dead.store(true, SeqCst);
                lost = true;
            }
            match (lost, count) {
                (true, 0) => return pending().await,
                (true, _) => continue,
                (false, 0) => return Ok(()),
                (false, _) => {}
            }
            let now = Instant::now();
            let arrival = if let Network::Delayed(delay) = network { now + delay } else { now };
            if sender.send((arrival, chunk[..count].to_vec())).await.is_err() {
                return Ok(());
            }
            sleep_until(now + network.pace(count)).await;
        }
    }
}

/// Writes what has arrived.
async fn give(mut receiver: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: OwnedWriteHalf) -> io::Result<()> {
    while let Some((arrival, bytes)) = receiver.recv().await {
        sleep_until(arrival).await;
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHILE: Duration = Duration::from_millis(200);
    const SOON: Duration = Duration::from_secs(10);

    /// Returns a proxy with both ends of a connection through it.
    async fn connected() -> (Proxy, TcpStream, TcpStream) {
        let broker = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = Proxy::to(broker.local_addr().expect("bound").to_string()).await.expect("a proxy");
        let client = TcpStream::connect(proxy.address()).await.expect("connected");
        let (broker, _) = broker.accept().await.expect("accepted");
        (proxy, client, broker)
    }

    async fn arrives(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) -> bool {
        from.write_all(text).await.expect("written");
        let mut read = vec![0; text.len()];
        let arrived = tokio::time::timeout(WHILE, to.read_exact(&mut read)).await;
        arrived.is_ok_and(|arrived| arrived.is_ok() && read == text)
    }

    /// Waits for the end of a connection.
    async fn ends(stream: &mut TcpStream, within: Duration) -> bool {
        let read = tokio::time::timeout(within, stream.read(&mut [0; 8])).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    #[tokio::test]
    async fn a_clear_network_carries_both_ways_and_tells_ends() {
        let (_proxy, mut client, mut broker) = connected().await;
        assert!(arrives(&mut client, &mut broker, b"there").await);
        assert!(arrives(&mut broker, &mut client, b"back").await);
        client.shutdown().await.expect("shut down");
        assert!(ends(&mut broker, SOON).await);
        assert!(arrives(&mut broker, &mut client, b"still").await, "the other way is open");
    }

    #[tokio::test]
    async fn a_cut_ends_connections_and_takes_none() {
        let (proxy, mut client, mut broker) = connected().await;
        proxy.set(Network::Cut);
        assert!(ends(&mut client, SOON).await && ends(&mut broker, SOON).await);
        let mut other = TcpStream::connect(proxy.address()).await.expect("connected");
        assert!(ends(&mut other, SOON).await);
        drop(proxy);
    }

    #[tokio::test]
    async fn a_black_hole_swallows_bytes_and_ends_and_gives_nothing_back() {
        let (proxy, mut client, mut broker) = connected().await;
        proxy.set(Network::BlackHole);
        assert!(!arrives(&mut client, &mut broker, b"lost").await);
        assert!(!arrives(&mut broker, &mut client, b"lost").await);
        proxy.set(Network::Clear);
        assert!(!arrives(&mut client, &mut broker, b"a stream with a hole").await);
        drop(client);
        assert!(!ends(&mut broker, WHILE).await, "nobody tells it");
        drop(proxy);
        assert!(ends(&mut broker, SOON).await);
    }

    #[tokio::test]
    async fn what_was_idle_in_a_black_hole_goes_on() {
        let (proxy, mut client, mut broker) = connected().await;
        assert!(arrives(&mut client, &mut broker, b"before").await);
        proxy.set(Network::BlackHole);
        proxy.set(Network::Clear);
        assert!(arrives(&mut client, &mut broker, b"after").await);
    }

    #[tokio::test]
    async fn one_way_dies_and_the_other_lives() {
        for way in [Way::ToBroker, Way::FromBroker] {
            let (proxy, mut client, mut broker) = connected().await;
            proxy.set(Network::HalfOpen(way));
            assert_eq!(arrives(&mut client, &mut broker, b"there").await, way == Way::FromBroker);
            assert_eq!(arrives(&mut broker, &mut client, b"back").await, way == Way::ToBroker);
        }
    }

    #[tokio::test]
    async fn a_delay_is_that_of_each_byte_not_of_all_together() {
        let (proxy, mut client, mut broker) = connected().await;
        proxy.set(Network::Delayed(Duration::from_millis(300)));
        let begun = Instant::now();
        for _ in 0..5 {
            client.write_all(b"1").await.expect("written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        broker.read_exact(&mut [0; 5]).await.expect("read");
        let waited = begun.elapsed();
        assert!((Duration::from_millis(300)..Duration::from_millis(1200)).contains(&waited), "{waited:?}");
    }

    #[tokio::test]
    async fn a_slow_network_holds_the_writer_back() {
        let (proxy, mut client, mut broker) = connected().await;
        proxy.set(Network::Slow(100_000));
        let begun = Instant::now();
        let writing = async { client.write_all(&vec![7; 50_000]).await.expect("written") };
        let mut read = vec![0; 50_000];
        tokio::join!(writing, async { broker.read_exact(&mut read).await.expect("read") });
        assert!(read.iter().all(|byte| *byte == 7));
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(300), "{waited:?}");
    }
}
