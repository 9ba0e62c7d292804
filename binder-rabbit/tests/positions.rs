//! A queue has no positions.

use binder_core::channel::SinkBinding;
use binder_core::config::Config;
use binder_core::prelude::*;
use binder_core::{Result, SeekTo};

#[tokio::test]
async fn a_seek_is_refused() -> Result<()> {
    let text = "stream: { binders: { rabbit: { type: rabbit } }, bindings: { input: { group: g } } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("rabbit", binder_rabbit::factory()).build()?;
    let _channels = app.bind::<SinkBinding<String>>().await?;
    let error = app.control("input")?.seek(SeekTo::Beginning).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(format!("{error:?}").contains("rabbit"), "it says whose limit that is: {error:?}");
    Ok(())
}
