mod again;
mod bulk;
mod fixture;
mod readers;
mod writer;
