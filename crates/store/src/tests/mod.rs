mod again;
mod export;
pub(crate) mod fixture;
mod readers;
mod refuse;
mod remove;
mod submission;
mod together;
mod writer;
