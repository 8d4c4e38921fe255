//! The model as HTML.

use std::collections::BTreeMap;

use super::Page;
use crate::error::Error;

/// Where a page is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From a file: nothing is fetched.
    File,
    /// From `sweep serve`: it listens to changes.
    Live,
}

impl Page {
    /// The whole document.
    ///
    /// # Errors
    /// Errors of the template, which a model cannot cause.
    pub fn html(&self, place: Place) -> Result<String, Error> {
        let live = if place == Place::Live { " data-live" } else { "" };
        Ok(format!("<!doctype html><html{live}><title></title></html>"))
    }

    /// The parts of the document that a live page replaces as a whole when they change, by the id of their element.
    ///
    /// # Errors
    /// As [`Self::html`].
    pub fn parts(&self) -> Result<BTreeMap<String, String>, Error> {
        Ok(BTreeMap::new())
    }

    /// The page's content security policy.
    #[must_use]
    pub fn policy(_place: Place) -> String {
        "default-src 'none'".to_owned()
    }
}
