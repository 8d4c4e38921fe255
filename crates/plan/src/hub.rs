//! The address of a file on the Hugging Face hub, `hf://owner/repository@revision/path/in/repository`. Pure.

use std::fmt;

/// How an address begins.
const SCHEME: &str = "hf://";

/// A file on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// `owner/repository`.
    pub repository: String,
    /// A commit, tag or branch; the newest state of the main branch without one.
    pub revision: Option<String>,
    /// The path in the repository.
    pub file: String,
}

impl HubFile {
    /// The address in `text`; `None` where it is none but a path on this machine.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let address = text.strip_prefix(SCHEME)?;
        let parts: Vec<&str> = address.splitn(3, '/').collect();
        let &[owner, repository, file] = parts.as_slice() else {
            return Some(Err("must be hf://owner/repository/file, or with @revision behind the repository".to_owned()));
        };
        let (repository, revision) = match repository.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (repository, None),
        };
        let names = [("owner", owner), ("repository", repository)].into_iter().chain(revision.map(|name| ("revision", name)));
        for (what, name) in names {
            if !is_name(name) {
                return Some(Err(format!(
                    "has the {what} `{}`: it must be of letters, digits, `-`, `_` and `.`, and not `..`",
                    imbalance::shown::shown(name)
                )));
            }
        }
        // What a part is called decides where it lies below the hub's cache.
        let odd =
            |part: &str| matches!(part, "" | "." | "..") || part.contains('\\') || part.chars().any(imbalance::shown::is_obeyed);
        if file.split('/').any(odd) {
            let file = imbalance::shown::shown(file);
            return Some(Err(format!("has the file `{file}`: no part of its path may be empty, `.`, `..` or have a backslash")));
        }
        Some(Ok(Self {
            repository: format!("{owner}/{repository}"),
            revision: revision.map(str::to_owned),
            file: file.to_owned(),
        }))
    }
}

fn is_name(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    !text.is_empty() && !text.contains("..") && text != "." && text.chars().all(plain)
}

impl fmt::Display for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        write!(f, "/{}", self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        assert_eq!(HubFile::parse("weights/file.safetensors"), None);
        for address in ["hf://timm/densenet121.tv_in1k/a/model.safetensors", "hf://timm/resnet18@v1.0-rc_2/model@2.safetensors"] {
            assert_eq!(HubFile::parse(address).unwrap().unwrap().to_string(), address);
        }
        let pinned = HubFile::parse("hf://a/b@0123abc/c/d").unwrap().unwrap();
        assert_eq!(
            (pinned.repository.as_str(), pinned.revision.as_deref(), pinned.file.as_str()),
            ("a/b", Some("0123abc"), "c/d")
        );
    }

    #[test]
    fn what_leaves_the_hub_or_its_cache_is_refused() {
        let bad = |text: &str| HubFile::parse(text).unwrap().unwrap_err();
        for text in ["hf://", "hf://timm", "hf://timm/densenet121"] {
            assert!(bad(text).contains("owner/repository/file"), "{text}");
        }
        for text in [
            "hf://a/b/../../../x",
            "hf://../../x",
            "hf://../b/x",
            "hf://a/../x",
            "hf://a/b/",
            "hf://a/b//x",
            "hf://a//x",
            "hf:///b/x",
            "hf:///etc/passwd/x",
            "hf://a/b/./x",
            "hf://a/b/x\\..\\y",
            "hf://a/b/x\ny",
            "hf://a/b@/x",
            "hf://a/b@../x",
            "hf://a/b@a..b/x",
            "hf://a/b@v 1/x",
            "hf://a b/c/x",
            "hf://a/b?c/x",
            "hf://a/b%2F/x",
        ] {
            assert!(bad(text).starts_with("has the "), "{text}: {}", bad(text));
        }
    }
}
