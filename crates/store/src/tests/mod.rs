mod again;
mod fixture;
mod readers;
mod writer;
