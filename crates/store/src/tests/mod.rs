mod again;
mod export;
pub(crate) mod fixture;
mod readers;
mod refuse;
mod remove;
<<<<<<< HEAD
mod submission;
=======
mod search;
>>>>>>> search
mod together;
mod writer;
