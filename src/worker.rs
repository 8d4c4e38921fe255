//! The process side: jobs in on stdin, journal out. Never opens the database.
