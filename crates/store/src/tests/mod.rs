mod again;
mod export;
pub(crate) mod fixture;
mod readers;
mod refuse;
mod remove;
mod search;
mod together;
mod writer;
