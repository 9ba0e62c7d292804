//! A queue has no positions, and no transactions over what is received and sent.

use binder_core::channel::{SinkBinding, SourceBinding};
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

#[tokio::test]
async fn a_transaction_is_refused() -> Result<()> {
    let text = "stream: { binders: { rabbit: { type: rabbit } } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("rabbit", binder_rabbit::factory()).build()?;
    let channels = app.bind::<SourceBinding<String>>().await?;
    let refused = app.transaction(async |tx| Ok(tx.send(&channels.output, &"a".to_owned()).await?)).await;
    let error = refused.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(format!("{error:?}").contains("rabbit"), "it says whose limit that is: {error:?}");
    Ok(())
}

#[tokio::test]
async fn a_transactional_input_is_refused() -> Result<()> {
    let text = "stream: { binders: { rabbit: { type: rabbit } },
        bindings: { input: { group: g, consumer: { transactional: true } } } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("rabbit", binder_rabbit::factory()).build()?;
    let error = app.bind::<SinkBinding<String>>().await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("`transactional: true`"), "{error}");
    assert!(format!("{error:?}").contains("binding `input`"), "it says where: {error:?}");
    Ok(())
}
