mod fixture;
mod writer;
