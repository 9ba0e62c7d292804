//! Cases on a real broker: `RABBIT_URL=amqp://…`.

#[path = "../support/mod.rs"]
#[macro_use]
mod support;
mod consuming;
mod failing;
mod publishing;
mod queues;
mod redrive;
#[cfg(feature = "tls")]
mod secure;
mod streams;
mod topology;

fn main() {
    let cases = [
        consuming::cases(),
        failing::cases(),
        publishing::cases(),
        queues::cases(),
        redrive::cases(),
        streams::cases(),
        topology::cases(),
    ];
    let cases = cases.into_iter().flatten();
    #[cfg(feature = "tls")]
    let cases = cases.chain(secure::cases());
    let secure: &[&str] = if cfg!(feature = "tls") { &["RABBIT_TLS_URL", "RABBIT_CERTIFICATES"] } else { &[] };
    support::run(&[&["RABBIT_URL"], secure].concat(), cases.collect());
}
