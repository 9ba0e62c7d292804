//! A started service, and why one does not start.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::Router;
use binder_core::ErrorKind;
use binder_core::prelude::*;

use crate::{Server, health_routes, serve};

/// Why a service does not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The channels: a wrong configuration, mostly.
    #[error(transparent)]
    Stream(#[from] binder_core::Error),
    /// A setting of the service itself is wrong.
    #[error("{0}")]
    Setting(String),
    /// The port can't be had.
    #[error("port {port} can't be listened on")]
    Listen {
        /// The port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The runtime does not start.
    #[error("the runtime does not start")]
    Runtime(#[source] io::Error),
    /// The database can't be had.
    #[cfg(feature = "database")]
    #[error("the database can't be opened")]
    Database(#[from] sqlx::Error),
}

impl StartError {
    /// Returns 2 for what is wrong with the configuration, else 1.
    pub fn exit_code(&self) -> ExitCode {
        let configuration = match self {
            Self::Stream(error) => matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported),
            other => matches!(other, Self::Setting(_)),
        };
        ExitCode::from(if configuration { 2 } else { 1 })
    }

    /// Returns the text of the error and of all its causes.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}

/// A service at work. Dropping it stops its HTTP but not its channels: call [`stop`](Self::stop) or [`abort`](Self::abort).
#[derive(Debug)]
pub struct Running {
    application: Application,
    server: Server,
}

impl Running {
    /// Starts the channels of an application, and serves routes beside its `/health`.
    ///
    /// # Errors
    /// Of the channels, or of the port.
    pub async fn start(application: Application, port: u16, routes: Router) -> Result<Self, StartError> {
        application.start().await?;
        let routes = routes.merge(health_routes(&application));
        let server = serve(port, routes).await.map_err(|source| StartError::Listen { port, source });
        match server {
            Ok(server) => Ok(Self { application, server }),
            Err(error) => {
                application.abort();
                Err(error)
            }
        }
    }

    /// Returns where it serves HTTP.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns its channels' application.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// Serves until the signal comes, then stops.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub async fn until(self, signal: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        signal.await;
        tracing::info!("stopping");
        self.stop().await
    }

    /// Stops gently: HTTP first, because its requests send, then the channels.
    ///
    /// # Errors
    /// What the channels could not finish.
    pub async fn stop(self) -> Result<(), StartError> {
        self.server.stop().await;
        Ok(self.application.shutdown().await?)
    }

    /// Ends at once, as `kill -9` does.
    pub fn abort(self) {
        self.application.abort();
    }
}
