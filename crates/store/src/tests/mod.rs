mod again;
mod fixture;
mod readers;
mod refuse;
mod together;
mod writer;
