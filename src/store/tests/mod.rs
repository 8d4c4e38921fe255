mod bulk;
mod fixture;
mod writer;
