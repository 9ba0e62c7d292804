//! The receiving half.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use binder_core::Result;
use binder_core::binder::{
    BatchView, Consumer, ConsumerBinding, DeadLetter, DeadLetterSink, LaneId, Metadata, Parcel, Received, Token,
};
use binder_core::config::{HeaderMode, Start};
use binder_core::message::{ContentType, HeaderValue, Headers};
use bytes::BytesMut;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::record::Record;
use crate::{Files, unreached};

/// How often the files are looked at.
const POLL: Duration = Duration::from_millis(5);

/// Reads the files of its destinations. A lane is a file; a place in it is the number of the byte behind the message.
#[derive(Debug)]
pub(crate) struct FileConsumer {
    files: Files,
    group: Option<String>,
    lanes: Vec<Lane>,
    with_headers: bool,
    start: Option<Start>,
    paused: bool,
    dead_letters: Option<Arc<FileDeadLetters>>,
}

#[derive(Debug)]
struct Lane {
    destination: Arc<str>,
    /// Where it reads on; none while another member has the group.
    position: Option<u64>,
}

impl FileConsumer {
    pub(crate) fn open(files: Files, binding: &ConsumerBinding) -> Result<Self> {
        let group = binding.group.clone();
        let dead_letters = group.clone().filter(|_| binding.has_dead_letters());
        let dead_letters = dead_letters.map(|group| Arc::new(FileDeadLetters { files: files.clone(), group }));
        let lane = |name: &String| Lane { destination: name.as_str().into(), position: None };
        let mut consumer = Self {
            lanes: binding.destinations.iter().map(lane).collect(),
            with_headers: binding.properties.header_mode != HeaderMode::None,
            start: binding.properties.start,
            paused: false,
            files,
            group,
            dead_letters,
        };
        consumer.join();
        Ok(consumer)
    }

    /// Takes the places in the group that nobody has, and reads on where the last member was.
    fn join(&mut self) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.position.is_none()) {
            let end = || fs::metadata(self.files.path(&lane.destination)).map_or(0, |file| file.len());
            let Some(group) = &self.group else {
                lane.position = Some(if self.start == Some(Start::Earliest) { 0 } else { end() });
                continue;
            };
            if !self.files.shared.members().insert((lane.destination.to_string(), group.clone())) {
                continue;
            }
            let known = fs::read_to_string(self.files.position(&lane.destination, group));
            let fresh = || if self.start == Some(Start::Latest) { end() } else { 0 };
            lane.position = Some(known.ok().and_then(|text| text.parse().ok()).unwrap_or_else(fresh));
        }
    }

    /// Reads what is there.
    fn read(&mut self, max: usize) -> Result<Vec<Parcel>> {
        self.files.check_open()?;
        self.join();
        let mut parcels = Vec::new();
        for (index, lane) in (0..).zip(&mut self.lanes) {
            let Some(position) = &mut lane.position else { continue };
            let Ok(mut file) = File::open(self.files.path(&lane.destination)) else { continue };
            file.seek(SeekFrom::Start(*position)).map_err(unreached)?;
            let mut lines = BufReader::new(file);
            let mut line = Vec::new();
            while parcels.len() < max
                && lines.read_until(b'\n', &mut line).map_err(unreached)? > 0
                && line.ends_with(b"\n")
            {
                let record = Record::read(&line)?;
                *position += line.len() as u64;
                line.clear();
                parcels.push(Parcel {
                    content_type: Some(ContentType::parse(&record.content_type)),
                    headers: if self.with_headers { record.headers() } else { Headers::new() },
                    payload: record.payload,
                    key: record.key,
                    token: Token { lane: LaneId(index), sequence: *position },
                    metadata: Metadata::new(Arc::clone(&lane.destination)),
                });
            }
        }
        Ok(parcels)
    }

    fn leave(&mut self) {
        let Some(group) = &self.group else { return };
        for lane in self.lanes.iter_mut().filter(|lane| lane.position.is_some()) {
            lane.position = None;
            self.files.shared.members().remove(&(lane.destination.to_string(), group.clone()));
        }
    }
}

impl Consumer for FileConsumer {
    fn try_recv_many(&mut self, max: usize) -> Result<Option<Received<'_>>> {
        if self.paused {
            return Ok(None);
        }
        let parcels = self.read(max)?;
        Ok((!parcels.is_empty()).then(|| Received::Batch(Box::new(Parcels(parcels)))))
    }

    fn recv_many(&mut self, max: usize) -> BoxFuture<'_, Result<Received<'_>>> {
        async move {
            loop {
                // nothing is awaited between reading and returning: a dropped future has read nothing
                let parcels = if self.paused { Vec::new() } else { self.read(max)? };
                if !parcels.is_empty() {
                    return Ok(Received::Batch(Box::new(Parcels(parcels)) as Box<dyn BatchView>));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        .boxed()
    }

    fn settle(&mut self, lane: LaneId, sequence: u64) -> Result<()> {
        let lane = self.lanes.get(lane.0 as usize).filter(|lane| lane.position.is_some());
        let (Some(lane), Some(group)) = (lane, &self.group) else { return Ok(()) };
        let path = self.files.position(&lane.destination, group);
        let known = fs::read_to_string(&path).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        if sequence <= known {
            return Ok(());
        }
        let new = path.with_extension("new");
        fs::write(&new, sequence.to_string()).and_then(|()| fs::rename(&new, &path)).map_err(unreached)
    }

    fn settle_apart(&mut self, _: LaneId, _: &[u64]) -> Result<bool> {
        Ok(false)
    }

    fn release<'a>(&'a mut self, _: &'a [LaneId]) -> BoxFuture<'a, Result<()>> {
        // nothing is ever revoked
        async { Ok(()) }.boxed()
    }

    fn pause(&mut self) -> Result<()> {
        self.paused = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<()> {
        self.paused = false;
        Ok(())
    }

    fn dead_letters(&self) -> Option<Arc<dyn DeadLetterSink>> {
        let sink = Arc::clone(self.dead_letters.as_ref()?);
        Some(sink)
    }

    fn default_prefetch(&self) -> u32 {
        1000
    }

    fn close(mut self: Box<Self>) -> BoxFuture<'static, Result<()>> {
        self.leave();
        async { Ok(()) }.boxed()
    }
}

impl Drop for FileConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Deliveries that own their bytes.
struct Parcels(Vec<Parcel>);

impl BatchView for Parcels {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.0[index].payload.as_deref()
    }

    fn key(&self, index: usize) -> Option<&[u8]> {
        self.0[index].key.as_deref()
    }

    fn token(&self, index: usize) -> Token {
        self.0[index].token
    }

    fn content_type(&self, index: usize) -> Option<ContentType> {
        self.0[index].content_type.clone()
    }

    fn header(&self, index: usize, name: &str) -> Option<HeaderValue> {
        self.0[index].headers.get(name).cloned()
    }

    fn headers(&self, index: usize) -> Headers {
        self.0[index].headers.clone()
    }

    fn metadata(&self, index: usize) -> Metadata {
        self.0[index].metadata.clone()
    }

    fn detach(&self, index: usize, _: &mut BytesMut) -> Parcel {
        self.0[index].clone()
    }
}

/// Appends to `error.<destination>.<group>`.
#[derive(Debug)]
pub(crate) struct FileDeadLetters {
    files: Files,
    group: String,
}

#[async_trait]
impl DeadLetterSink for FileDeadLetters {
    async fn send(&self, letter: DeadLetter<'_>) -> Result<()> {
        let delivery = letter.delivery;
        let origin = &delivery.metadata.destination;
        let headers = delivery.headers.clone();
        let headers = headers.with("x-original-topic", origin.as_ref());
        let headers = headers.with("x-exception-message", letter.reason.to_string());
        let headers = headers.with("x-exception-stacktrace", format!("{:?}", letter.reason));
        let content_type = delivery.content_type.as_ref().unwrap_or(&ContentType::BYTES);
        let record = Record::new(delivery.payload.as_deref(), delivery.key.as_deref(), content_type.as_str(), &headers);
        let mut line = Vec::new();
        record.write(&mut line)?;
        self.files.append(&format!("error.{origin}.{}", self.group), &line)
    }
}
