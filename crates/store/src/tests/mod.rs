mod again;
mod export;
pub(crate) mod fixture;
mod readers;
mod refuse;
mod remove;
mod together;
mod writer;
