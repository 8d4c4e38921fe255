//! Configurations that an older program wrote, in terms of the strategies there are now. Pure.

use super::RunConfig;
use super::choice::Family;
use imbalance::{Absent, Choice, PosWeight};

impl RunConfig {
    /// The same with every parameter that its strategies have now: one that was not there when it was written gets its default.
    ///
    /// # Errors
    /// A strategy or a parameter that is not known any more, or a parameter that has no default.
    pub fn completed(self) -> Result<Self, String> {
        let Self { data, model, mut train, loss, pos_weight, sampler, seed } = self;
        train.optimizer = completed("train.optimizer", train.optimizer)?;
        train.schedule = completed("train.schedule", train.schedule)?;
        let pos_weight = match pos_weight {
            PosWeight::Formula(choice) => PosWeight::Formula(completed("pos_weight", choice)?),
            explicit @ PosWeight::Explicit(_) => explicit,
        };
        let (loss, sampler) = (completed("loss", loss)?, completed("sampler", sampler)?);
        Ok(Self { data, model, train, loss, pos_weight, sampler, seed })
    }
}

fn completed(key: &str, mut choice: Choice) -> Result<Choice, String> {
    let family = Family::of(key).ok_or_else(|| format!("`{key}` is not a key of strategies"))?;
    let kind = choice.kind.clone();
    if !family.kinds.iter().any(|(known, _)| *known == kind) {
        return Err(format!("this version of the program has no {key} `{kind}`"));
    }
    let params = family.of_kind(&kind);
    if let Some(unknown) = choice.params.keys().find(|name| !params.iter().any(|param| param.name == **name)) {
        return Err(format!("{key} `{kind}` has no parameter `{unknown}` in this version of the program"));
    }
    for param in params.iter().filter(|param| !choice.params.contains_key(param.name)).collect::<Vec<_>>() {
        let value = match param.absent {
            Absent::Number(number) => number.into(),
            Absent::Word(word) => word.into(),
            Absent::Off => continue,
            Absent::Error => {
                return Err(format!("{key} `{kind}` needs `{}` in this version of the program", param.name));
            }
        };
        choice.params.insert(param.name.to_owned(), value);
    }
    Ok(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_program_did_not_write_gets_its_default() {
        let sgd = completed("train.optimizer", Choice::plain("sgd").with("momentum", 0.5)).unwrap();
        assert_eq!(sgd, Choice::plain("sgd").with("momentum", 0.5).with("nesterov", 0.0).with("weight_decay", 0.0));
        let focal = completed("loss", Choice::plain("focal")).unwrap();
        assert!(focal.params.contains_key("gamma"), "{focal}");
        assert_eq!(completed("loss", Choice::plain("bce")), Ok(Choice::plain("bce")));
    }

    #[test]
    fn what_is_not_known_any_more_is_named() {
        let error = |key, choice| completed(key, choice).unwrap_err();
        assert!(error("loss", Choice::plain("hope")).contains("no loss `hope`"));
        assert!(error("loss", Choice::plain("bce").with("luck", 1.0)).contains("no parameter `luck`"));
    }
}
