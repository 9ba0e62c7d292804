//! A service in memory that greets once: what the README begins with, with somebody who sends.

use binder_core::prelude::*;

#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    name: String,
}

#[derive(Binding)]
struct Channels {
    #[input("greetings")]
    greetings: Input<Greeting>,
    #[output("hello")]
    hello: Output<Greeting>,
}

async fn greet(greeting: Greeting) {
    println!("Hello, {}!", greeting.name);
}

#[tokio::main]
async fn main() -> binder_core::Result<()> {
    let text =
        "stream: { bindings: { greetings: { destination: greetings, group: g }, hello: { destination: greetings } } }";
    let app = Application::builder().config(Config::builder().yaml(text).build()?).build()?;
    let channels = app.bind::<Channels>().await?;
    app.handle(channels.greetings, greet).await?;
    app.start().await?;
    channels.hello.send(&Greeting { name: "world".to_owned() }).await?;
    app.shutdown().await
}
