//! What happened, in files that outlive a `kill -9`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::order::Order;

/// A file to which several processes append lines. A line is one write, so it is whole, and the order of the lines is that of the writes.
#[derive(Clone)]
pub(crate) struct Journal(Arc<File>);

impl Journal {
    pub(crate) fn open(folder: &Path, name: &str) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path(folder, name))?;
        Ok(Self(Arc::new(file)))
    }

    pub(crate) fn note(&self, order: Order) -> io::Result<()> {
        (&*self.0).write_all(format!("{} {}\n", order.key, order.number).as_bytes())
    }

    /// Reads what was noted; a journal that nobody opened is empty.
    pub(crate) fn read(folder: &Path, name: &str) -> io::Result<Vec<Order>> {
        let text = match std::fs::read_to_string(path(folder, name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let order = |line: &str| {
            let (key, number) = line.split_once(' ')?;
            Some(Order { key: key.parse().ok()?, number: number.parse().ok()? })
        };
        Ok(text.lines().filter_map(order).collect())
    }
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.journal"))
}

/// Sends were begun.
pub(crate) const SENT: &str = "sent";
/// Sends were acknowledged.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";
/// Handlers were done.
pub(crate) const HANDLED: &str = "handled";
