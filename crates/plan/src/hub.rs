//! The address of a file on the Hugging Face hub, `hf://owner/repository@revision/path/in/repository`. Pure.

use std::fmt;

/// How an address begins.
const SCHEME: &str = "hf://";

/// What the file of weights is called in most repositories.
const USUAL: &str = "model.safetensors";

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
            let example = match parts.as_slice() {
                &[owner, repository] if !owner.is_empty() && !repository.is_empty() => {
                    let [owner, repository] = [owner, repository].map(imbalance::shown::shown);
                    format!("; of this repository most likely {SCHEME}{owner}/{repository}/{USUAL}")
                }
                _ => String::new(),
            };
            return Some(Err(format!("must be hf://owner/repository/file, or with @revision behind the repository{example}")));
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

/// What is wrong with an address of another kind, and the right form; `None` for one of the hub and for a path on this machine.
pub(super) fn of_another_kind(text: &str) -> Option<String> {
    let forms = "a file here, or hf://owner/repository@revision/file on the Hugging Face hub";
    let shown = imbalance::shown::shown(text);
    if let Some(name) = ["hf-hub:", "hf_hub:", "hf:", "timm:"].iter().find_map(|start| text.strip_prefix(start))
        && !text.starts_with(SCHEME)
    {
        let name = imbalance::shown::shown(name.trim_start_matches('/'));
        return Some(format!("must be {forms}, not `{shown}`; most likely {SCHEME}{name}/{USUAL}"));
    }
    let bare = ["huggingface.co/", "www.huggingface.co/", "hf.co/"].iter().any(|host| text.starts_with(host));
    let (scheme, rest) = if bare { ("https", text) } else { text.split_once("://")? };
    if scheme.eq_ignore_ascii_case("hf") {
        return (scheme != "hf").then(|| format!("must be {forms}: write hf:// in small letters"));
    }
    if scheme.eq_ignore_ascii_case("file") {
        let path = imbalance::shown::shown(rest.strip_prefix("localhost").unwrap_or(rest));
        return Some(format!("must be {forms}, not `{shown}`: write the path alone, {path}"));
    }
    let on_the_hub = rest.split(['?', '#']).next().and_then(of_web_page);
    Some(match on_the_hub {
        Some(file) => format!("must be {forms}, not `{shown}`: write {file}"),
        None => format!("must be {forms}, not `{shown}`: download it, convert it to safetensors unless it is, and give its path"),
    })
}

/// The file of `huggingface.co/owner/repository/resolve/revision/file`, which may also be a page of the file or of the repository.
fn of_web_page(address: &str) -> Option<HubFile> {
    let parts: Vec<&str> = address.trim_end_matches('/').split('/').collect();
    let (owner, repository, revision, file) = match parts.as_slice() {
        [_, owner, repository] => (owner, repository, "main", USUAL.to_owned()),
        [_, owner, repository, "tree", revision] => (owner, repository, *revision, USUAL.to_owned()),
        [_, owner, repository, "resolve" | "blob" | "raw", revision, file @ ..] if !file.is_empty() => {
            (owner, repository, *revision, file.join("/"))
        }
        _ => return None,
    };
    let host = parts[0].strip_prefix("www.").unwrap_or(parts[0]);
    let revision = Some(revision.to_owned()).filter(|revision| revision != "main");
    let found = HubFile { repository: format!("{owner}/{repository}"), revision, file };
    // What would not be read is not recommended.
    (["huggingface.co", "hf.co"].contains(&host) && matches!(HubFile::parse(&found.to_string()), Some(Ok(_)))).then_some(found)
}

/// The address that was meant by `text` where it has the form of a repository's name, `owner/repository`, and not of a file's.
#[must_use]
pub fn meant_as_repository(text: &str) -> Option<HubFile> {
    let (owner, repository) = text.split_once('/')?;
    let file = [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx", ".gguf", ".h5", ".npz"];
    let named = is_name(owner) && is_name(repository) && owner != ".." && !file.iter().any(|end| repository.ends_with(end));
    named.then(|| HubFile { repository: text.to_owned(), revision: None, file: USUAL.to_owned() })
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
    fn addresses_of_another_kind_are_told_with_the_right_form() {
        for (text, right) in [
            (
                "https://huggingface.co/timm/resnet18.tv_in1k/resolve/main/model.safetensors",
                "hf://timm/resnet18.tv_in1k/model.safetensors",
            ),
            ("https://huggingface.co/a/b/blob/v1/c/d.safetensors?download=true", "hf://a/b@v1/c/d.safetensors"),
            ("http://hf.co/a/b/", "hf://a/b/model.safetensors"),
            ("https://huggingface.co/a/b/tree/main", "hf://a/b/model.safetensors"),
            ("huggingface.co/a/b", "hf://a/b/model.safetensors"),
            ("hf-hub:timm/resnet18.tv_in1k", "hf://timm/resnet18.tv_in1k/model.safetensors"),
            ("hf:timm/resnet18", "hf://timm/resnet18/model.safetensors"),
            ("HF://a/b/c", "hf://"),
            ("file:///home/x/w.safetensors", "/home/x/w.safetensors"),
            ("https://download.pytorch.org/models/resnet18-f37072fd.pth", "download it"),
            ("s3://bucket/w.safetensors", "download it"),
            ("gs://bucket/w.safetensors", "hf://owner/repository@revision/file"),
        ] {
            let words = of_another_kind(text).unwrap_or_default();
            assert!(words.contains(right), "{text}: {words}");
        }
        for text in ["w.safetensors", "timm/resnet18.tv_in1k", "~/w.safetensors", "hf://a/b/c", "/x/hf:y", "C:\\w.safetensors"] {
            assert_eq!(of_another_kind(text), None, "{text}");
        }
        assert_eq!(
            meant_as_repository("timm/resnet18.tv_in1k").unwrap().to_string(),
            "hf://timm/resnet18.tv_in1k/model.safetensors"
        );
        for text in ["w.safetensors", "a/w.safetensors", "../w", "a/b/c", "/a/b", "./w", "~/w"] {
            assert_eq!(meant_as_repository(text), None, "{text}");
        }
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
