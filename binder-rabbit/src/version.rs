//! Which version a broker is.
//!
//! It says so in the first frame of a connection, which the client reads and forgets; so this is a greeting of its own.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use lapin::protocol::{AMQPClass, connection, parse_class};
use lapin::types::AMQPValue;

/// More than any broker says of itself.
const LONGEST: usize = 64 * 1024;

const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";

/// Greets, and returns the first number of the broker's version; none if it does not say one.
pub(crate) async fn major(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Option<u32>> {
    stream.write_all(GREETING).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while answer.len() < LONGEST {
        match stream.read(&mut part).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&part[..read]),
        }
        if let Some(method) = method(&answer) {
            return Ok(of_method(method));
        }
    }
    Ok(None)
}

/// What is in a frame, if all of it is there: its type, its channel and its length go before.
fn method(frame: &[u8]) -> Option<&[u8]> {
    let (head, rest) = frame.split_at_checked(7)?;
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    rest.get(..length as usize)
}

fn of_method(method: &[u8]) -> Option<u32> {
    let (_, class) = parse_class(method).ok()?;
    let AMQPClass::Connection(connection::AMQPMethod::Start(start)) = class else { return None };
    let AMQPValue::LongString(version) = start.server_properties.inner().get("version")? else { return None };
    version.to_string().split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    fn long(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
    }

    fn short(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }

    /// Says its part, whatever it is told, a few bytes at a time.
    fn broker(version: Option<&str>) -> impl AsyncRead + AsyncWrite + Unpin {
        let mut properties = [short("product"), b"S".to_vec(), long(&"RabbitMQ".repeat(1000))].concat();
        if let Some(version) = version {
            properties.extend([short("version"), b"S".to_vec(), long(version)].concat());
        }
        let length = (properties.len() as u32).to_be_bytes().to_vec();
        let start = [vec![0, 10, 0, 10, 0, 9], length, properties, long("PLAIN"), long("en_US")].concat();
        let head = [&[1, 0, 0], &(start.len() as u32).to_be_bytes()[..]].concat();
        Both { said: Cursor::new([head, start, vec![0xce]].concat()) }
    }

    struct Both {
        said: Cursor<Vec<u8>>,
    }

    impl AsyncRead for Both {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
            buffer: &mut [u8],
        ) -> std::task::Poll<io::Result<usize>> {
            let few = buffer.len().min(1000);
            std::pin::Pin::new(&mut self.said).poll_read(context, &mut buffer[..few])
        }
    }

    impl AsyncWrite for Both {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::task::Poll::Ready(Ok(buffer.len()))
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn poll_close(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn the_version_is_the_one_of_the_first_frame() {
        for (version, expected) in [("3.10.8", Some(3)), ("4.0.2", Some(4)), ("11", Some(11)), ("four", None)] {
            assert_eq!(major(broker(Some(version))).await.expect("an answer"), expected, "{version}");
        }
        assert_eq!(major(broker(None)).await.expect("an answer"), None);
    }

    #[tokio::test]
    async fn a_broker_that_hangs_up_is_an_error() {
        let silent = Both { said: Cursor::new(Vec::new()) };
        assert_eq!(major(silent).await.expect_err("nothing").kind(), io::ErrorKind::UnexpectedEof);
    }
}
