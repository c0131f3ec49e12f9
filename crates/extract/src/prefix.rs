//! Shards below a prefix of an object store: made on this disk, put there whole.
//!
//! A store has no locks. Two processes at the same share do the same work twice and put the same bytes.

use std::fs;
use std::path::Path;

use nic_core::{Error as CoreError, Objects};
use tempfile::TempDir;

use crate::error::Result;
use crate::place::{Local, marker, worker_of};
use crate::worker::Worker;

/// A prefix, and the directory of what is on its way.
#[derive(Debug)]
pub(crate) struct Prefix {
    objects: Objects,
    staging: TempDir,
}

impl Prefix {
    /// Leaves word of the worker; a prefix needs no making.
    pub(crate) fn open(url: &str, worker: Option<Worker>) -> Result<Self> {
        let objects = Objects::open(url)?;
        if let Some(worker) = worker {
            objects.put(&marker(worker), Vec::new())?;
        }
        let staging = TempDir::new().map_err(CoreError::io(std::env::temp_dir()))?;
        Ok(Self { objects, staging })
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        Ok(self.objects.names()?)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.objects.get(name)?)
    }

    pub(crate) fn local(&self, name: &str) -> Result<Option<Local>> {
        let local = Local { path: self.staging.path().join(name), copy: true };
        Ok(self.objects.fetch(name, &local.path)?.then_some(local))
    }

    pub(crate) fn create(&self, name: &str, content: &[u8]) -> Result<()> {
        Ok(self.objects.create(name, content.to_vec())?)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        Ok(self.objects.put(name, content.to_vec())?)
    }

    pub(crate) fn publish(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let local = Local { path: self.staging.path().join(name), copy: true };
        write(&local.path)?;
        let content = fs::read(&local.path).map_err(CoreError::io(&local.path))?;
        Ok(self.objects.put(name, content)?)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        Ok(self.objects.remove(name)?)
    }

    pub(crate) fn forget_workers(&self) -> Result<()> {
        for name in self.names()?.iter().filter(|name| worker_of(name).is_some()) {
            self.remove(name)?;
        }
        Ok(())
    }
}
