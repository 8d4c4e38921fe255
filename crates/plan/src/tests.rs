//! The sweep file from the outside: each kind of error with its place; points, folding, fingerprints, bundles.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{InputShape, SlurmConfig};
use imbalance::{Choice, LabelCounts, PosWeight, Setting};

const MINIMAL: &str = "[data]\nkind = \"letters\"\n";

fn facts() -> DataFacts {
    let counts = LabelCounts::new(224_000, vec![19_000, 65_000, 38_000, 105_000]);
    DataFacts {
        content: "c0ffee".to_owned(),
        labels: ["A", "B", "C", "D"].map(str::to_owned).to_vec(),
        input: InputShape::Image { channels: 1, height: 32, width: 32 },
        train: counts.clone(),
        val: counts.clone(),
        test: counts,
        folder: "cache".into(),
    }
}

fn error(text: &str, set: &[&str]) -> String {
    let set: Vec<_> = set.iter().map(|text| (*text).to_owned()).collect();
    match parse("dir/f.toml", text, &set) {
        Ok(_) => panic!("should not parse: {text} {set:?}"),
        Err(error) => error.to_string(),
    }
}

fn planned(text: &str) -> Plan {
    planned_with(text, &facts())
}

fn planned_with(text: &str, facts: &DataFacts) -> Plan {
    let sweep = parse("dir/f.toml", text, &[]).unwrap();
    let facts = vec![facts.clone(); sweep.data_configs().len()];
    sweep.plan(&facts, &BTreeMap::new()).unwrap()
}

fn grid(text: &str) -> Plan {
    planned(&format!("{MINIMAL}[grid]\n{text}"))
}

fn merged(plan: &Plan) -> Vec<(&str, usize)> {
    plan.merged.iter().map(|merged| (merged.reason.as_str(), merged.points)).collect()
}

#[test]
fn every_error_names_its_place_what_is_wrong_and_what_is_allowed() {
    // (file, parts the message must have; the first is the place)
    let cases: &[(&str, &[&str])] = &[
        ("name = ", &["f.toml:1:8: "]),
        ("a = 1\n[data\n", &["f.toml:2:6: "]),
        ("nam = 'x'\n", &["f.toml:1:1: ", "`nam` is not a key at the top", "did you mean `name`?"]),
        ("[dta]\n", &["f.toml:1:2: ", "did you mean `data`?"]),
        ("[data]\nkind = 'letters'\nsample = 3\n", &["f.toml:3:1: ", "in [data]", "did you mean `samples`?"]),
        ("[data]\nkind = 'letters'\nepochs = 3\n", &["f.toml:3:1: ", "did you mean `train.epochs`?"]),
        ("[data]\n", &["f.toml:1:2: ", "`data.kind` is missing: one of letters, images, features"]),
        ("", &["f.toml:1:1: ", "`data.kind` is missing"]),
        ("[data]\nkind = 'leters'\n", &["f.toml:2:8: ", "allowed: letters, images, features", "did you mean `letters`?"]),
        (
            "[data]\nkind = 'images'\nroot='a'\nlabels='b'\nsamples = 3\n",
            &["f.toml:5:11: ", "means nothing to kind = \"images\"", "root, labels"],
        ),
        ("[data]\nkind = 'images'\nlabels='b'\n", &["f.toml:1:2: ", "`data.root` is missing"]),
        ("[data]\nkind = 'letters'\nsamples = 0\n", &["f.toml:3:11: ", "an integer from 10 to 100000000, not 0"]),
        ("[data]\nkind = 'letters'\nsamples = 'x'\n", &["f.toml:3:11: ", "must be an integer", "not \"x\""]),
        (
            "[data]\nkind = 'letters'\nlabel_rates = { A = 0.1, B = 1.5 }\n",
            &["f.toml:3:30: ", "data.label_rates.B", "above 0 and below 1", "1.5"],
        ),
        ("[data]\nkind = 'letters'\nlabel_rates = { A = 0.1, A = 0.2 }\n", &["f.toml:3:26: ", "duplicate key"]),
        ("[data]\nkind = 'letters'\nlabel_rates = {}\n", &["f.toml:3:15: ", "table of labels and their rates"]),
        ("[data]\nkind = 'letters'\nsignal = nan\n", &["f.toml:3:10: ", "nan", "finite"]),
        ("[data]\nkind = 'letters'\nsignal = -1\n", &["f.toml:3:10: ", "from 0 to 100", "-1"]),
        ("[data]\nkind = 'letters'\n[data.split]\ntrain = 0.9\n", &["f.toml:4:9: ", "sum to 1", "1.2000"]),
        ("[data]\nkind = 'letters'\n[data.split]\ntest = 0\n", &["f.toml:4:8: ", "above 0"]),
        ("[data]\nkind = 'letters'\nsplit = 3\n", &["f.toml:3:9: ", "`data.split` must be a table, not 3"]),
        ("[data]\nkind='images'\nroot='a'\nlabels='b'\nchannels = 2\n", &["f.toml:5:12: ", "1 (grey) or 3 (RGB)"]),
        (
            "[data]\nkind='features'\nfeatures='a'\nlabels='b'\n[model]\narch = 'cnn'\n",
            &["f.toml:6:8: ", "cnn needs images", "linear, mlp"],
        ),
        ("[data]\nkind='letters'\n[model]\narch = 'densenet'\n", &["f.toml:4:8: ", "did you mean `densenet121`?"]),
        (
            "[data]\nkind='letters'\nimage_size = 16\n[model]\narch = 'densenet121'\n",
            &["f.toml:3:14: ", "at least 29 pixels, not 16"],
        ),
        (
            "[data]\nkind='letters'\n[model]\narch = 'resnet18'\n",
            &[
                "f.toml:4:8: ",
                "resnet18 is not trained here",
                "freeze = \"backbone\"",
                "trained are linear, mlp, cnn, densenet121",
            ],
        ),
        (
            "[data]\nkind='letters'\n[model]\narch = 'resnet50'\nfreeze = 'backbone'\n",
            &["f.toml:5:10: ", "a frozen resnet50 needs `model.weights`", "hf://"],
        ),
        (
            "[data]\nkind='letters'\n[model]\narch = 'cnn'\nfreeze = 'backbone'\nweights = 'w'\n",
            &["f.toml:5:10: ", "cnn has no pretrained backbone", "resnet18, resnet34, resnet50, resnet101, convnext_tiny"],
        ),
        (
            "[data]\nkind='letters'\nimage_size = 230\n[model]\narch = 'dinov2_vits14'\nfreeze = 'backbone'\nweights = 'w'\n",
            &["f.toml:3:14: ", "230 is not a multiple of that; the nearest are 224 and 238"],
        ),
        (
            "[data]\nkind='images'\nroot='a'\nlabels='b'\nflip = true\n[model]\narch = 'resnet18'\nfreeze = 'backbone'\nweights = 'w'\n",
            &["f.toml:5:8: ", "the features of a frozen resnet18 are computed once"],
        ),
        (
            "[data]\nkind='features'\nfeatures='a'\nlabels='b'\n[model]\narch = 'resnet18'\nfreeze = 'backbone'\nweights = 'w'\n",
            &["f.toml:6:8: ", "resnet18 needs images"],
        ),
        ("[data]\nkind='letters'\n[model]\nhidden = [8, 0]\n", &["f.toml:4:14: ", "from 1 to 65536, not 0"]),
        ("[data]\nkind='letters'\n[model]\nweights = 'hf://x'\n", &["f.toml:4:11: ", "hf://owner/repository/file"]),
        ("[data]\nkind='letters'\n[train]\nepochs = -1\n", &["f.toml:4:10: ", "not -1"]),
        ("[data]\nkind='letters'\n[train]\nlearning_rate = 0.0\n", &["f.toml:4:17: ", "above 0", "not 0"]),
        ("[data]\nkind='letters'\n[train]\nlearning_rate = '1e-3'\n", &["f.toml:4:17: ", "not \"1e-3\""]),
        ("[data]\nkind='letters'\n[train]\nprior_bias = 1\n", &["f.toml:4:14: ", "true or false, not 1"]),
        (
            "[data]\nkind='letters'\n[model]\narch = 'mlp'\n[train]\nprecision = 'bf16'\n",
            &["f.toml:6:13: ", "`train.precision`", "networks with feature maps", "mlp trains in \"f32\""],
        ),
        (
            "[data]\nkind='letters'\n[train]\noptimizer = 'adamm'\n",
            &["f.toml:4:13: ", "allowed: adam, adamw, adam_mini, sgd", "did you mean `adam`?"],
        ),
        (
            "[data]\nkind='letters'\n[train]\noptimizer = { kind = 'sgd', momentun = 1 }\n",
            &["f.toml:4:29: ", "sgd has no parameter `momentun`", "did you mean `momentum`?"],
        ),
        ("[data]\nkind='letters'\n[train]\noptimizer = { kind = 'sgd', momentum = 1.0 }\n", &["f.toml:4:40: ", "below 1"]),
        (
            "[data]\nkind='letters'\n[train]\nschedule = { every = 1 }\n",
            &["f.toml:4:12: ", "needs `kind`", "constant, step, cosine"],
        ),
        ("[data]\nkind='letters'\n[train]\nschedule = { kind = 'step', every = 0 }\n", &["f.toml:4:37: ", "above 0"]),
        ("[data]\nkind='letters'\n[grid]\nloss = []\n", &["f.toml:4:8: ", "`loss` is empty"]),
        (
            "[data]\nkind='letters'\n[grid]\nloss = ['bce', 'focla']\n",
            &["f.toml:4:16: ", "no loss is called \"focla\"", "did you mean `focal`?"],
        ),
        ("[data]\nkind='letters'\n[grid]\nloss = ['bce', 'bce']\n", &["f.toml:4:16: ", "appears twice"]),
        ("[data]\nkind='letters'\n[grid]\nloss = ['bce', { kind = 'bce' }]\n", &["f.toml:4:16: ", "appears twice"]),
        (
            "[data]\nkind='letters'\n[grid]\ngamma = [1, 1.0]\n",
            &["f.toml:4:13: ", "appears twice in axis `gamma`: it is at dir/f.toml:4:10 already"],
        ),
        ("[data]\nkind='letters'\n[grid]\nthreshold = [0.5, 0.50]\n", &["f.toml:4:19: ", "it is at dir/f.toml:4:14 already"]),
        ("[data]\nkind='letters'\n[grid]\nthreshold = [0, -0.0]\n", &["f.toml:4:17: ", "appears twice"]),
        (
            "[data]\nkind='letters'\n[grid]\nthreshold = [{kind='max_fbeta',beta=2},{beta=2.0,kind='max_fbeta'}]\n",
            &["f.toml:4:40: ", "appears twice"],
        ),
        ("[data]\nkind='letters'\n[grid]\n'train.optimizer.nesterov' = [true, 1]\n", &["f.toml:4:37: ", "appears twice"]),
        (
            "[data]\nkind='letters'\n[grid]\nloss = [{kind='asl',detach=true},{kind='asl',detach=1.0}]\n",
            &["f.toml:4:34: ", "appears twice"],
        ),
        ("[data]\nkind='letters'\n[grid]\npos_weight = [[1, 2, 3, 4],[1.0, 2, 3, 4]]\n", &["f.toml:4:28: ", "appears twice"]),
        ("[data]\nkind='letters'\n[grid]\ngamma = [1, -2.0]\n", &["f.toml:4:13: ", "`gamma` must be a number", "not -2"]),
        ("[data]\nkind='letters'\n[grid]\ngama = [1]\n", &["f.toml:4:1: ", "no axis is called `gama`", "did you mean `gamma`?"]),
        ("[data]\nkind='letters'\n[grid]\nepochs = [1]\n", &["f.toml:4:1: ", "did you mean \"train.epochs\"?"]),
        ("[data]\nkind='letters'\n[grid]\n\"train.epochs\" = [1, 0]\n", &["f.toml:4:22: ", "not 0"]),
        ("[data]\nkind='letters'\n[grid]\n\"train.epoch\" = [1]\n", &["f.toml:4:1: ", "did you mean `train.epochs`?"]),
        ("[data]\nkind='letters'\n[grid]\n\"workers.devices\" = ['cpu']\n", &["f.toml:4:1: ", "cannot be an axis"]),
        ("[data]\nkind='letters'\n[grid]\nseed = [0, -1]\n", &["f.toml:4:12: ", "at least 0, not -1"]),
        ("[data]\nkind='letters'\n[grid]\nthreshold = [0.5, 1.5]\n", &["f.toml:4:19: ", "from 0 to 1"]),
        ("[data]\nkind='letters'\n[grid]\nthreshold = ['max_f2']\n", &["f.toml:4:14: ", "did you mean `max_f1`?"]),
        ("[data]\nkind='letters'\n[grid]\npos_weight = [10.79, 2.45]\n", &["f.toml:4:15: ", "[[10.8, 2.4, ...]]"]),
        ("[data]\nkind='letters'\n[grid]\npos_weight = [[1.0, -1.0]]\n", &["f.toml:4:21: ", "above 0"]),
        ("[data]\nkind='letters'\n[grid]\nsampler = 'shufle'\n", &["f.toml:4:11: ", "did you mean `shuffle`?"]),
        ("[data]\nkind='letters'\n[[grid.exclude]]\nlos = 'bce'\n", &["f.toml:4:1: ", "did you mean `loss`?"]),
        (
            "[data]\nkind='letters'\n[[grid.exclude]]\nalpha = 0.5\n",
            &["f.toml:4:1: ", "is not an axis of this grid", "loss, pos_weight"],
        ),
        ("[data]\nkind='letters'\n[[grid.exclude]]\n", &["f.toml:3:1: ", "match everything"]),
        ("[data]\nkind='letters'\n[[grid.exclude]]\nloss = 'bce'\n", &["f.toml:3:3: ", "drops all 1 points"]),
        ("[data]\nkind='letters'\n[grid]\nexclude = 3\n", &["f.toml:4:11: ", "[[grid.exclude]]"]),
        ("[data]\nkind='letters'\n[workers]\nlauncher = 'locla'\n", &["f.toml:4:12: ", "did you mean", "local"]),
        ("[data]\nkind='letters'\n[workers]\ndevices = ['gpu']\n", &["f.toml:4:11: ", "cuda:N"]),
        ("[data]\nkind='letters'\n[workers]\ndevices = ['cpu', 'cpu']\n", &["f.toml:4:11: ", "twice"]),
        ("[data]\nkind='letters'\n[workers]\ntimeout = '2 weeks'\n", &["f.toml:4:11: ", "\"1h30m\""]),
        ("[data]\nkind='letters'\n[workers]\nattempts = 0\n", &["f.toml:4:12: ", "from 1 to 100"]),
        ("name = 'latest'\n[data]\nkind='letters'\n", &["f.toml:1:8: ", "newest sweep"]),
        ("name = ''\n[data]\nkind='letters'\n", &["f.toml:1:8: ", "not empty"]),
        ("data = 3\n", &["f.toml:1:8: ", "must be a table, not 3"]),
        ("[data]\nkind='letters'\nseed = 2024-01-01\n", &["f.toml:3:8: ", "must be an integer", "2024-01-01"]),
    ];
    for (text, parts) in cases {
        let message = error(text, &[]);
        assert!(message.starts_with(&format!("dir/{}", parts[0])), "{text}\n{message}");
        for part in *parts {
            assert!(message.contains(part), "{text}\n{message}\nlacks {part}");
        }
    }
}

#[test]
fn overrides_change_base_and_axes_and_are_the_place_of_their_errors() {
    let parse = |set: &[&str]| {
        let set: Vec<_> = set.iter().map(|text| (*text).to_owned()).collect();
        let text = format!(
            "{MINIMAL}[train]\noptimizer = 'sgd'\nschedule = {{ kind = 'step', every = 2 }}\n[grid]\n\"train.epochs\" = [1, 2]\nseed = [0, 1]\n"
        );
        let sweep = parse("f.toml", &text, &set).unwrap();
        sweep.plan(&vec![facts(); sweep.data_configs().len()], &BTreeMap::new()).unwrap()
    };
    assert_eq!(parse(&[]).runs.len(), 4);
    let plan = parse(&["train.epochs=7", "grid.seed=[5]", "name=other"]);
    assert_eq!((plan.runs.len(), plan.runs[0].config.train.epochs, plan.runs[0].config.seed, &*plan.name), (1, 7, 5, "other"));
    assert_eq!(parse(&["train.optimizer.momentum=0.5"]).runs[0].config.train.optimizer.get("momentum"), 0.5);
    assert_eq!(parse(&["train.optimizer=adamw"]).runs[0].config.train.optimizer.kind, "adamw");
    let schedule = parse(&["train.schedule.factor=0.5"]).runs[0].config.train.schedule.clone();
    assert_eq!((schedule.get("every"), schedule.get("factor")), (2.0, 0.5));
    assert_eq!(parse(&["data.label_rates={X=0.5}", "grid.pos_weight=none"]).data[0].0, {
        let Source::Letters { samples, image_size, signal, seed, .. } = parse(&[]).data[0].0.source.clone() else { panic!() };
        let label_rates = vec![("X".to_owned(), 0.5)];
        DataConfig { source: Source::Letters { samples, label_rates, image_size, signal, seed }, ..parse(&[]).data[0].0.clone() }
    });
    for (set, part) in [
        ("train.epoch=2", "did you mean `epochs`?"),
        ("train.epochs=two", "must be \"auto\" or an integer"),
        ("train.epochs=0.5", "must be an integer"),
        ("train.epochs", "KEY=VALUE"),
        ("train.epochs=", "has no value"),
        ("train.epochs=[2", "--set train.epochs"),
        ("grid.gama=[1]", "did you mean `gamma`?"),
        ("model.arch.x=1", "model.arch"),
        ("train.learning_rate=nan", "finite"),
    ] {
        let message = error(MINIMAL, &[set]);
        assert!(message.starts_with("--set ") && message.contains(part), "{set}: {message}");
    }
}

#[test]
fn the_file_of_the_contract_has_its_defaults() {
    let sweep = parse("dir/my sweep.toml", MINIMAL, &[]).unwrap();
    assert_eq!(sweep.name, "my sweep");
    let (launcher, devices) = ("local".to_owned(), vec!["auto".to_owned()]);
    let slurm = SlurmConfig::default();
    let auto = WorkersConfig { launcher, devices, per_device: 1, attempts: 2, timeout: None, slurm };
    assert_eq!(sweep.workers, auto);
    let plan = planned(MINIMAL);
    let RunConfig { data, model, train, loss, pos_weight, sampler, seed } = &plan.runs[0].config;
    let Source::Letters { samples, label_rates, image_size, signal, seed: data_seed } = &data.source else { panic!() };
    assert_eq!((*samples, *image_size, *signal, *data_seed, label_rates.len()), (4000, 32, 2.0, 0, 4));
    assert_eq!((model.arch.as_str(), model.hidden.as_slice()), ("cnn", &[16, 32, 64][..]));
    assert_eq!((train.batch_size, train.learning_rate, train.start), (16, 3e-3, Start::Link));
    assert_eq!(
        train.optimizer,
        Choice::plain("adamw").with("beta1", 0.9).with("beta2", 0.999).with("eps", 1e-8).with("weight_decay", 0.3)
    );
    assert_eq!(train.schedule, Choice::plain("constant").with("warmup", 0.0));
    assert_eq!((loss, sampler, *seed), (&Choice::plain("bce"), &Choice::plain("shuffle"), 0));
    assert_eq!(pos_weight, &PosWeight::Formula(Choice::plain("none")));
    assert_eq!(plan.policies, [imbalance::threshold::Policy::Fixed(0.5)]);
}

#[test]
fn times_are_read_as_people_write_them() {
    for (typed, seconds) in [("'2h'", 7200), ("'90s'", 90), ("'45m'", 2700), ("'1h30m'", 5400), ("30", 30), ("'1d'", 86400)] {
        let sweep = parse("f", &format!("{MINIMAL}[workers]\ntimeout = {typed}"), &[]).unwrap();
        assert_eq!(sweep.workers.timeout, Some(std::time::Duration::from_secs(seconds)), "{typed}");
    }
}

#[test]
fn thresholds_do_not_train() {
    let plan = grid("threshold = [0.5, 'max_f1', 'prior_match']\nseed = [0, 1]");
    assert_eq!((plan.product, plan.points.len(), plan.runs.len(), plan.policies.len()), (6, 6, 2, 3));
    assert_eq!(merged(&plan), [("`threshold` does not train: every run is evaluated under each policy", 4)]);
}

#[test]
fn policies_that_are_equal_after_defaults_are_one() {
    let plan = grid("threshold = [0.5, 'max_fbeta', { kind = 'max_fbeta', beta = 2.0 }]\nseed = [0, 1]");
    assert_eq!((plan.points.len(), plan.runs.len()), (6, 2));
    assert_eq!(plan.policies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0.5", "max_fbeta(beta=2)"]);
    assert_eq!(
        merged(&plan),
        [
            ("`threshold` does not train: every run is evaluated under each policy", 2),
            ("threshold \"max_fbeta\" and { kind = \"max_fbeta\", beta = 2 } are the same policy", 2)
        ]
    );
    // as values that only `include` names, too
    let plan = grid("threshold = 'max_fbeta'\n[[grid.include]]\nthreshold = { kind = 'max_fbeta', beta = 2 }\n");
    assert_eq!((plan.points.len(), plan.runs.len(), plan.policies.len(), plan.merged.len()), (2, 1, 1, 1));
}

/// Of every kind of every axis: a parameter that is typed as its default is the same value, said in the plan.
#[test]
fn values_that_are_equal_after_defaults_are_one_on_every_axis() {
    use imbalance::{Absent, Takes};
    let mut seen = 0;
    for key in choice::FAMILIES {
        let family = choice::Family::of(key).unwrap();
        for (kind, params) in &family.kinds.kinds {
            let needed = params.iter().filter(|param| param.absent == Absent::Error).map(|param| {
                let Takes::Number { min, max } = param.takes else { panic!("{kind}: {param:?}") };
                format!(", {} = {:?}", param.name, (min.max(0.25) + max.min(0.75)) / 2.0)
            });
            let needed: String = needed.collect();
            for param in *params {
                let default = match param.absent {
                    Absent::Number(number) => format!("{number:?}"),
                    Absent::Word(word) => format!("'{word}'"),
                    Absent::Off | Absent::Error => continue,
                };
                let value = format!("{{ kind = '{kind}'{needed} }}, {{ kind = '{kind}'{needed}, {} = {default} }}", param.name);
                let text = format!(
                    "[data]\nkind = 'features'\nfeatures = 'x.npy'\nlabels = 'y.csv'\n[train]\nepochs = 4\n[grid]\n'{key}' = [{value}]"
                );
                let plan = planned(&text);
                let runs = plan.runs.len() - plan.references();
                assert_eq!((plan.points.len(), runs, plan.policies.len()), (2, 1, 1), "{text}");
                assert_eq!(plan.merged.iter().map(|merged| merged.points).sum::<usize>(), 1, "{text}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_rule_matches_what_is_equal() {
    let grid = |rule: &str| {
        let sgd = "'train.optimizer' = ['adam', { kind = 'sgd', nesterov = true }]";
        grid(&format!("{sgd}\n'train.optimizer.momentum' = [0.5]\n[[grid.exclude]]\n'train.optimizer' = {rule}"))
    };
    for rule in ["'sgd'", "{ kind = 'sgd', nesterov = 1 }", "{ nesterov = 1.0, kind = 'sgd' }"] {
        assert_eq!(grid(rule).runs.len(), 1, "{rule}");
    }
    assert_eq!(grid("{ kind = 'sgd', nesterov = 0 }").runs.len(), 2);
}

#[test]
fn a_parameter_is_read_only_by_losses_that_have_it_and_do_not_fix_it() {
    let plan = grid("loss = ['bce', 'focal', { kind = 'focal', gamma = 5 }]\ngamma = [1, 2]");
    let names: Vec<_> = plan.runs.iter().map(|run| (run.name.loss.as_str(), run.name.gamma)).collect();
    assert_eq!(names, [("bce", None), ("focal", Some(1.0)), ("focal", Some(2.0)), ("focal", Some(5.0))]);
    assert_eq!(merged(&plan), [("`gamma` means nothing to bce", 1), ("focal(gamma=5) says `gamma` itself", 1)]);
    assert_eq!(plan.points, [0, 0, 1, 2, 3, 3]);
}

#[test]
fn focal_without_focus_is_bce_but_not_with_alpha() {
    let plan = grid("loss = ['bce', 'focal']\ngamma = [0, 2]");
    assert_eq!(plan.runs.len(), 2);
    assert_eq!(merged(&plan), [("`gamma` means nothing to bce", 1), ("`focal(gamma=0)` is `bce`", 1)]);
    let plan = grid("loss = ['bce', { kind = 'focal', gamma = 0, alpha = 0.25 }]");
    assert_eq!(plan.runs.len(), 2);
    let only = grid("loss = 'focal'\ngamma = 0");
    assert_eq!((only.runs[0].name.loss.as_str(), only.runs[0].name.gamma), ("bce", None));
}

#[test]
fn equal_weights_are_one_run_under_any_name() {
    let plan = grid(
        "pos_weight = ['none', { kind = 'power', exponent = 0 }, [1, 1, 1, 1], 'sqrt', { kind = 'power', exponent = 0.5 }, 'neg_over_pos']",
    );
    let names: Vec<_> = plan.runs.iter().map(|run| run.name.pos_weight.as_str()).collect();
    assert_eq!(names, ["none", "sqrt", "neg_over_pos"]);
    let reasons = merged(&plan);
    assert_eq!(reasons[0], ("pos_weight `power(exponent=0)` is 1 for every label here: `none`", 1));
    assert_eq!(reasons[1], ("pos_weight `[1,1,1,1]` is 1 for every label here: `none`", 1));
    assert_eq!(reasons[2], ("pos_weight `sqrt` and `power(exponent=0.5)` are the same weights here", 1));
    assert!((plan.runs[2].pos_weight[0] - 10.789_473_684).abs() < 1e-8);
}

#[test]
fn keys_the_architecture_does_not_read_are_folded() {
    let plan = grid("\"model.arch\" = ['linear', 'mlp']\n\"model.hidden\" = [[8], [16]]");
    assert_eq!(plan.runs.len(), 3);
    assert_eq!(merged(&plan), [("`model.hidden` means nothing to linear", 1)]);
    assert!(plan.runs[0].config.model.hidden.is_empty() && !plan.runs[0].name.params.contains_key("model.hidden"));
    assert_eq!(plan.runs[1].name.params["model.hidden"], serde_json::json!([8]));
}

#[test]
fn parameters_of_optimizers_may_be_axes_quoted_or_not() {
    let one = grid("\"train.optimizer\" = ['adam', 'sgd']\n\"train.optimizer.momentum\" = [0.0, 0.9]");
    let two = grid("train.optimizer.momentum = [0.0, 0.9]\n'train.optimizer' = ['adam', 'sgd']");
    assert_eq!((one.runs.len(), two.runs.len()), (3, 3));
    assert_eq!(merged(&one), [("`train.optimizer.momentum` means nothing to adam", 1)]);
    assert_eq!(one.runs[1].config.train.optimizer.get("momentum"), 0.0);
}

#[test]
fn exclude_drops_what_matches_all_keys_and_include_adds() {
    let plan = grid(
        "loss = ['bce', { kind = 'focal', gamma = 2.0 }]\nsampler = ['shuffle', 'class_aware']\nthreshold = [0.5, 'max_f1']\nseed = [0, 1]\n\
         [[grid.exclude]]\nloss = 'focal'\nsampler = 'class_aware'\n[[grid.exclude]]\nseed = [1, 7]\nloss = { kind = 'focal', gamma = 2 }\n\
         [[grid.include]]\nloss = 'focal_seed'\nalpha = 0.9\n\"train.epochs\" = [1, 9]\n",
    );
    assert_eq!(plan.product, 16);
    let rules: Vec<_> = plan.excluded.iter().map(|(rule, points)| (rule.as_str(), *points)).collect();
    assert_eq!(
        rules,
        [("loss = \"focal\", sampler = \"class_aware\"", 4), ("seed = [1, 7], loss = { kind = \"focal\", gamma = 2 }", 2)]
    );
    // Two epochs x two policies.
    assert_eq!((plan.included, plan.points.len()), (4, 14));
    let added: Vec<_> = plan.runs.iter().filter(|run| run.name.loss == "focal_seed").collect();
    let epochs: Vec<_> =
        added.iter().map(|run| (run.config.train.epochs, run.config.seed, run.name.params["train.epochs"].clone())).collect();
    assert_eq!(epochs, [(1, 0, 1.into()), (9, 0, 9.into())]);
    assert!(!plan.runs[0].name.params.contains_key("train.epochs"));
    let accounted: usize = plan.merged.iter().map(|merged| merged.points).sum();
    assert_eq!(accounted, plan.points.len() - plan.runs.len());
}

/// What a file does not name is what suits the network; a parameter alone changes that parameter alone.
#[test]
fn each_network_has_an_optimizer_of_its_own_by_default() {
    let optimizer = |arch: &str, text: &str| {
        let plan = planned(&format!("[data]\nkind = 'letters'\n[model]\narch = '{arch}'\n{text}"));
        plan.runs[0].config.train.optimizer.to_string()
    };
    let adam =
        |kind: &str, beta1: f64, decay: f64| format!("{kind}(beta1={beta1},beta2=0.999,eps=0.00000001,weight_decay={decay})");
    for (arch, kind, decay) in
        [("linear", "adam_mini", 0.0), ("mlp", "adam_mini", 0.0), ("cnn", "adamw", 0.3), ("densenet121", "adam", 0.0)]
    {
        assert_eq!(optimizer(arch, ""), adam(kind, 0.9, decay));
        assert_eq!(optimizer(arch, "[grid]\n'train.optimizer.beta1' = [0.8]\n"), adam(kind, 0.8, decay));
        assert_eq!(optimizer(arch, "[grid]\n'train.optimizer.weight_decay' = [0.5]\n"), adam(kind, 0.9, 0.5));
        assert_eq!(optimizer(arch, "[train]\noptimizer = 'adamw'\n"), adam("adamw", 0.9, 0.01));
    }
    assert_eq!(optimizer("resnet18", "weights = 'r.safetensors'\nfreeze = 'backbone'\n"), adam("adam_mini", 0.9, 0.0));
}

/// Each strategy is planned with every value to choose from, those of `include` too, and no rule takes one away.
#[test]
fn tuned_keys_are_axes_of_every_strategy() {
    let tune = "[train]\ntune = { 'train.learning_rate' = [0.1, 0.01], 'train.optimizer' = ['adam', 'sgd'] }\n";
    let plan =
        planned(&format!("{MINIMAL}{tune}[grid]\nloss = ['bce', 'asl']\nseed = [0, 1]\n[[grid.include]]\nloss = 'zlpr'\n"));
    assert_eq!(
        (plan.tuned.as_slice(), plan.runs.len()),
        (&["train.learning_rate", "train.optimizer"].map(str::to_owned)[..], 20)
    );
    let of = |loss: &str| plan.runs.iter().filter(|run| run.config.loss.kind == loss).count();
    assert_eq!((of("bce"), of("asl"), of("zlpr")), (8, 8, 4));
    assert!(plan.runs.iter().all(|run| run.name.params.len() == 2));
    let text = format!("{MINIMAL}{tune}");
    let without = |set: &str| parse("f.toml", &text, &[set.to_owned()]).unwrap().tuned();
    assert_eq!(without("train.tune={}"), Vec::<String>::new());
    assert_eq!(without("train.tune.train.optimizer=['sgd']").len(), 2);
    for (file, words) in [
        ("[train]\ntune = 3", "f.toml:4:8: `train.tune` must be a table of keys of [train] and [model]"),
        ("[train]\ntune = { loss = ['bce'] }", "f.toml:4:10: `loss` cannot be tuned"),
        ("[train]\ntune = { 'data.seed' = [1] }", "`data.seed` cannot be tuned"),
        ("[train]\ntune = { learning_rate = [1] }", "did you mean \"train.learning_rate\"?"),
        ("[train]\ntune = { 'train.learning_rate' = [] }", "`train.learning_rate` is empty"),
        (
            "[train]\ntune = { 'train.learning_rate' = [1] }\n[grid]\n'train.learning_rate' = [2]",
            "is an axis of the grid already",
        ),
        (
            "[train]\ntune = { 'train.learning_rate' = [1, 2] }\n[[grid.exclude]]\n'train.learning_rate' = 2",
            "is tuned, and every strategy must have equally many",
        ),
        (
            "[train]\ntune = { 'train.learning_rate' = [1, 2] }\n[[grid.include]]\n'train.learning_rate' = 3",
            "is tuned, and every strategy must have equally many",
        ),
        ("[grid]\n'train.tune' = [1]", "no axis is called `train.tune`"),
    ] {
        let error = parse("f.toml", &format!("{MINIMAL}{file}\n"), &[]).unwrap_err().to_string();
        assert!(error.contains(words), "{file}: {error}");
    }
}

/// A run does not end before re-weighting has had its patience.
#[test]
fn deferred_re_weighting_is_waited_for() {
    let plan = |text: &str| {
        let text = format!("[data]\nkind = 'letters'\n[model]\narch = 'linear'\n[grid]\n{text}");
        let sweep = parse("f.toml", &text, &[]).unwrap();
        let train = &sweep.plan(&[facts()], &BTreeMap::new()).unwrap().runs[0].config.train;
        (train.epochs, train.stop.unwrap().patience, train.stop.unwrap().least)
    };
    assert_eq!(plan("loss = ['bce']"), (16, 4, 1));
    assert_eq!(plan("loss = [{ kind = 'ldam', drw = 0.5 }]"), (16, 4, 13));
    assert_eq!(plan("loss = [{ kind = 'ldam', drw = 1 }]"), (16, 4, 1));
    assert_eq!(plan("loss = ['ldam']"), (16, 4, 18));
}

#[test]
fn the_fingerprint_is_stable() {
    // If this changes, every recorded run is forgotten: raise FORMAT only when a run's numbers change.
    let strategy = "loss = 'focal'\ngamma = 2\npos_weight = 'neg_over_pos'\nseed = 3";
    assert_eq!(grid(strategy).runs[0].fingerprint.0, "faac33bcd5cb433a8b08eacad9f4db47");
    // Version 0.1 recorded the mlp under this name, and the linear network as af16cf30c466e10e3d0da97e2186ee67, whose numbers have changed.
    let train = "epochs = 4\nbudget = 'epochs'\nstart = 'prior'\nbatch_size = 64\nlearning_rate = 1e-3\noptimizer = 'adam'\n";
    for (arch, name) in [("mlp", "13421bfdbc1a2a9268d1508766dcef5e"), ("linear", "0f1990c4b22775b2fb02c6eda7c2e4d7")] {
        let plan = planned(&format!("{MINIMAL}[model]\narch = '{arch}'\n[train]\n{train}[grid]\n{strategy}"));
        assert_eq!(plan.runs[0].fingerprint.0, name, "{arch}");
    }
}

/// The numbers of ldam alone have changed, whose run was b29105 before: it is not taken for one of now.
#[test]
fn a_loss_whose_numbers_have_changed_has_new_names() {
    let name = |loss: &str| grid(&format!("loss = '{loss}'")).runs[0].fingerprint.0.clone();
    assert_eq!(["ldam", "logit_adjust"].map(|loss| name(loss)[..6].to_owned()), ["42f362", "ae04be"]);
}

/// What a picture's pixels are has defaults; a configuration of before these keys says what was done then.
#[test]
fn pictures_are_taken_as_the_file_says_or_as_they_were() {
    let image = |rest: &str| {
        let text = format!("[data]\nkind = 'images'\nroot = 'a'\nlabels = 'a.csv'\n{rest}\n");
        let sweep = parse("x.toml", &text, &[])?;
        let Source::Images { image, .. } = sweep.data_configs()[0].source.clone() else { panic!() };
        Ok::<_, SpecError>(image)
    };
    let taken = |image: ImageConfig| (image.transparency, image.pixel_range);
    let plain = image("").unwrap();
    assert_eq!(taken(plain.clone()), ("drop".to_owned(), "full".to_owned()));
    let other = image("transparency = 'white'\npixel_range = 'used'").unwrap();
    assert_eq!(taken(other), ("white".to_owned(), "used".to_owned()));
    let error = image("transparency = 'whit'").unwrap_err().to_string();
    assert!(error.contains("data.transparency") && error.contains("did you mean `white`?"), "{error}");
    assert!(image("pixel_range = 4095").unwrap_err().to_string().contains("data.pixel_range"));
    let mut old = serde_json::to_value(&plain).unwrap();
    old.as_object_mut().unwrap().retain(|key, _| !["transparency", "pixel_range"].contains(&&key[..]));
    let old = serde_json::from_value(old).unwrap();
    assert_eq!(taken(old), ("black".to_owned(), "full".to_owned()));
}

#[test]
fn the_fingerprint_knows_content_and_not_paths_names_or_spelling() {
    let images =
        |root: &str, rest: &str| format!("[data]\nkind = 'images'\nroot = '{root}'\nlabels = '{root}/labels.csv'\n{rest}\n");
    let print = |text: &str, facts: &DataFacts| planned_with(text, facts).runs[0].fingerprint.clone();
    let facts = facts();
    let base = print(&images("a", ""), &facts);
    let elsewhere = DataFacts { folder: "elsewhere".into(), ..facts.clone() };
    assert_eq!(base, print(&images("b/c", "max_pixels = 7\n[workers]\nper_device = 3"), &elsewhere));
    assert_eq!(
        base,
        print(&format!("name = 'other'\n{}", images("a", "image_size = 224.0\n[train]\nlearning_rate = 0.003")), &facts)
    );
    let vector = images("a", "[grid]\npos_weight = [[4, 4, 4, 4]]");
    assert_ne!(base, print(&vector, &facts));
    let even = LabelCounts::new(100, vec![20; 4]);
    let even = DataFacts { train: even, ..facts.clone() };
    assert_eq!(print(&images("a", "[grid]\npos_weight = 'neg_over_pos'"), &even), print(&vector, &even));
    for change in [
        "image_size = 64",
        "flip = true",
        "normalize = 'half'",
        "[train]\nepochs = 5",
        "[grid]\nseed = 1",
        "[model]\ndropout = 0.1",
    ] {
        assert_ne!(base, print(&images("a", change), &facts), "{change}");
    }
    let other = DataFacts { content: "other".to_owned(), ..facts };
    assert_ne!(base, print(&images("a", ""), &other));
}

/// A value that the parameter allows, as TOML and as a setting: not its default where there is another.
fn some_value(param: &imbalance::Param) -> (String, Setting) {
    use imbalance::Takes;
    match param.takes {
        Takes::Number { min, max } => {
            let value = min + 0.3 * (max.min(min + 1.0) - min);
            (format!("{value:?}"), value.into())
        }
        Takes::Whole { min, max } => (max.min(min + 1).to_string(), f64::from(max.min(min + 1)).into()),
        Takes::Word(words) => (format!("'{}'", words[words.len() - 1]), words[words.len() - 1].into()),
    }
}

const FEATURES: &str = "[data]\nkind = 'features'\nfeatures = 'x.npy'\nlabels = 'y.csv'\n[model]\narch = 'mlp'\n";

#[test]
fn every_registered_strategy_can_be_typed_by_name_and_with_each_parameter() {
    use imbalance::{Absent, Entry, Param, loss, pos_weight, sampler, threshold};
    fn rows<B>(registry: &'static [Entry<B>]) -> Vec<(&'static str, &'static [Param])> {
        registry.iter().map(|entry| (entry.kind, entry.params)).collect()
    }
    let families = [
        ("loss", rows(loss::REGISTRY)),
        ("pos_weight", rows(pos_weight::REGISTRY)),
        ("sampler", rows(sampler::REGISTRY)),
        ("threshold", rows(threshold::REGISTRY)),
    ];
    for (family, kinds) in families {
        for (kind, params) in kinds {
            let typed = |params: &[&Param]| {
                let params: Vec<_> = params.iter().map(|param| format!(", {} = {}", param.name, some_value(param).0)).collect();
                format!("{FEATURES}[grid]\n{family} = [{{ kind = '{kind}'{} }}]", params.concat())
            };
            let chosen = |text: &str| -> Choice {
                let plan = planned(text);
                let config = &plan.runs[0].config;
                match (family, &config.pos_weight, &plan.policies[0]) {
                    ("loss", ..) => config.loss.clone(),
                    ("sampler", ..) => config.sampler.clone(),
                    ("pos_weight", PosWeight::Formula(choice), _) => choice.clone(),
                    ("threshold", _, threshold::Policy::Fitted(choice)) => choice.clone(),
                    other => panic!("{other:?}"),
                }
            };
            let required: Vec<&Param> = params.iter().filter(|param| param.absent == Absent::Error).collect();
            let plain = chosen(&typed(&required));
            assert_eq!(plain.kind, kind);
            if required.is_empty() {
                assert_eq!(chosen(&format!("{FEATURES}[grid]\n{family} = '{kind}'")), plain);
            } else {
                let message = error(&format!("{FEATURES}[grid]\n{family} = '{kind}'"), &[]);
                assert!(message.contains(&format!("{kind} needs `{}`", required[0].name)), "{message}");
            }
            for param in params {
                let mut given = required.clone();
                given.retain(|known| known.name != param.name);
                given.push(param);
                let choice = chosen(&typed(&given));
                // A weight that comes to 1 for every label here is `none`: effective_number(beta=0.3), cost(fn=0.3,fp=0.3).
                if choice.kind == kind || family != "pos_weight" {
                    assert_eq!(choice.params.get(param.name), Some(&some_value(param).1), "{family} {kind}, {}", param.name);
                }
            }
            let message = error(&format!("{FEATURES}[grid]\n{family} = [{{ kind = '{kind}', nonsense = 1 }}]"), &[]);
            assert!(message.contains("nonsense"), "{message}");
        }
    }
}

#[test]
fn losses_that_compare_cells_fold_pos_weight_and_equal_losses_are_one_run() {
    let plan = grid("loss = ['soft_f1', 'two_way', 'zlpr']\npos_weight = ['none', 'neg_over_pos']");
    assert_eq!(plan.runs.len(), 3);
    let expected = ["soft_f1", "two_way", "zlpr"].map(|kind| format!("`pos_weight` means nothing to {kind}"));
    assert_eq!(merged(&plan), expected.each_ref().map(|reason| (reason.as_str(), 1)));
    let plan = grid(
        "loss = ['bce', { kind = 'asl', gamma_neg = 0, gamma_pos = 0, clip = 0 }, { kind = 'logit_adjust', tau = 0 }, 'asl']\n\
         pos_weight = ['none', 'sqrt']",
    );
    assert_eq!(plan.runs.len(), 4);
    let names: Vec<_> = plan.runs.iter().map(|run| run.name.loss.as_str()).collect();
    assert_eq!(names, ["bce", "bce", "asl", "asl"]);
    assert_eq!(
        merged(&plan),
        [("`asl(clip=0,detach=0,gamma_neg=0,gamma_pos=0)` is `bce`", 2), ("`logit_adjust(tau=0)` is `bce`", 2)]
    );
}

#[test]
fn batches_too_small_for_their_sampler_are_refused() {
    let text = format!("{MINIMAL}[train]\nbatch_size = 8\n[grid]\nsampler = ['shuffle', {{ kind = 'balanced_batch', min = 3 }}]");
    let message = parse("f", &text, &[]).unwrap().plan(&[facts()], &BTreeMap::new()).unwrap_err().to_string();
    let expected = "sampler balanced_batch(min=3) needs train.batch_size to be 12 or more with 4 labels, not 8";
    assert!(message.starts_with("f:6:23: ") && message.ends_with(expected), "{message}");
}

#[test]
fn a_sampler_that_mixes_features_is_refused_for_images() {
    let message = error(&format!("{MINIMAL}[grid]\nsampler = ['shuffle', 'mlsmote']"), &[]);
    assert!(message.starts_with("dir/f.toml:4:23: "), "{message}");
    assert!(
        message.contains(
            "mlsmote mixes features and means nothing to images: data.kind must be \"features\", or the backbone frozen"
        ),
        "{message}"
    );
}

#[test]
fn a_frozen_backbone_makes_features_of_images() {
    let text = "[data]\nkind = 'letters'\n[model]\narch = 'resnet18'\nfreeze = 'backbone'\nweights = 'w'\n[grid]\nsampler = 'mlsmote'\n\
                \"model.hidden\" = [[], [64]]\n";
    let plan = |content: &str| {
        let file = WeightFile { source: "w".into(), content: content.to_owned(), head: None };
        parse("f", text, &[]).unwrap().plan(&[facts()], &BTreeMap::from([("w".to_owned(), file)])).unwrap()
    };
    let one = plan("one");
    let heads: Vec<_> = one.runs.iter().map(|run| run.config.model.head().unwrap().1.arch).collect();
    assert_eq!(heads, ["linear", "mlp", "linear", "linear"], "two of the grid, and one pair of reference runs for both");
    assert_ne!(one.runs[0].fingerprint, plan("two").runs[0].fingerprint, "the weights' content counts");
    let other = parse("f", &text.replace("resnet18", "resnet50"), &[]).unwrap();
    assert_ne!(other.plan(&[facts()], &BTreeMap::new()).unwrap().runs[0].fingerprint, one.runs[0].fingerprint);
}

#[test]
fn weights_are_known_by_their_content() {
    let plan = |content: &str, folder: &str| {
        let sweep = parse("f", &format!("{MINIMAL}[model]\narch = 'densenet121'\nweights = 'w.safetensors'"), &[]).unwrap();
        assert_eq!(sweep.weight_files(), ["w.safetensors"]);
        let file = WeightFile { source: format!("{folder}/w.safetensors"), content: content.to_owned(), head: None };
        sweep.plan(&[facts()], &BTreeMap::from([("w.safetensors".to_owned(), file)])).unwrap().runs.remove(0)
    };
    assert_eq!(plan("one", "a").fingerprint, plan("one", "b").fingerprint);
    assert_ne!(plan("one", "a").fingerprint, plan("two", "a").fingerprint);
    let model = plan("one", "a").config.model;
    assert_eq!((model.weights.as_deref(), model.weights_hash.as_deref()), (Some("a/w.safetensors"), Some("one")));
}

#[test]
fn a_head_that_is_kept_or_not_names_a_run_only_where_it_decides() {
    let plan = |head: &str, labels: Option<usize>| {
        let sweep = parse("f", &format!("{MINIMAL}[model]\narch = 'densenet121'\nweights = 'w'\n{head}"), &[]).unwrap();
        let file = WeightFile { source: "/w".to_owned(), content: "one".to_owned(), head: labels };
        sweep.plan(&[facts()], &BTreeMap::from([("w".to_owned(), file)])).unwrap().runs.remove(0)
    };
    let (new, keep) = ("head = 'new'", "head = 'keep'");
    let labels = facts().labels.len();
    let old = plan("", None).fingerprint;
    assert_eq!(plan("", None).config.model.weights_head, Some(Head::New));
    assert_eq!(plan(new, None).fingerprint, old);
    // What earlier versions trained under this name: a head that fits was kept, any other was not.
    assert_eq!(plan(keep, Some(labels)).fingerprint, old);
    assert_eq!(plan(new, Some(labels + 1)).fingerprint, old);
    assert_ne!(plan(new, Some(labels)).fingerprint, old);
    let both = format!("{MINIMAL}[model]\narch = 'densenet121'\nweights = 'w'\n[grid]\n'model.head' = ['new', 'keep']\n");
    let file = WeightFile { source: "/w".to_owned(), content: "one".to_owned(), head: Some(labels) };
    let both = parse("f", &both, &[]).unwrap().plan(&[facts()], &BTreeMap::from([("w".to_owned(), file)])).unwrap();
    assert_eq!(both.runs.len(), 2);
    let bad = |model: &str| error(&format!("{MINIMAL}[model]\n{model}"), &[]);
    for (model, words) in [
        ("head = 'keep'", "it needs `model.weights`"),
        ("arch = 'resnet18'\nweights = 'w'\nfreeze = 'backbone'\nhead = 'keep'", "never used"),
        ("arch = 'linear'\nweights = 'w'", "model.head = \"keep\""),
        ("weights = 'w'\nhead = 'old'", "new, keep"),
        ("weights = 'https://x.org/w.pth'", "give its path"),
    ] {
        assert!(bad(model).contains(words), "{}", bad(model));
    }
    let frozen = "[model]\narch = 'resnet18'\nweights = 'w'\nfreeze = 'backbone'\nhead = 'new'";
    let frozen = parse("f", &format!("{MINIMAL}{frozen}"), &[]).unwrap();
    assert_eq!(frozen.pretrained()[0].0.weights_head, None);
}

#[test]
fn weights_on_the_hub_are_known_by_their_content_too() {
    let plan = |typed: &str, source: &str, content: &str| {
        let sweep = parse("f", &format!("{MINIMAL}[model]\narch = 'densenet121'\nweights = '{typed}'"), &[]).unwrap();
        assert_eq!(sweep.weight_files(), [typed]);
        let file = WeightFile { source: source.to_owned(), content: content.to_owned(), head: None };
        sweep.plan(&[facts()], &BTreeMap::from([(typed.to_owned(), file)])).unwrap().runs.remove(0)
    };
    let (main, pinned) = ("hf://a/b/w.safetensors", "hf://a/b@123/w.safetensors");
    let one = plan(main, pinned, "one");
    assert_eq!(one.config.model.weights.as_deref(), Some(pinned));
    assert_eq!(one.fingerprint, plan(pinned, pinned, "one").fingerprint);
    assert_eq!(one.fingerprint, plan("w.safetensors", "/x/w.safetensors", "one").fingerprint, "wherever the file is");
    assert_ne!(one.fingerprint, plan(main, "hf://a/b@456/w.safetensors", "two").fingerprint, "main has moved on");
    let bad = |weights: &str| error(&format!("{MINIMAL}[model]\narch = 'densenet121'\nweights = '{weights}'"), &[]);
    for weights in ["hf://a/b/../../x", "hf://../../x", "hf://a/b", "hf://a/b@/x"] {
        assert!(bad(weights).contains("`model.weights`: the file on the Hugging Face hub"), "{}", bad(weights));
    }
}

#[test]
fn settings_that_leave_the_data_alike_are_one_run() {
    let plan = grid("\"data.split.seed\" = [0, 1]");
    assert_eq!((plan.data.len(), plan.runs.len()), (2, 1));
    assert_eq!(merged(&plan), [("`data.split.seed` 0 and 1 train the same here", 1)]);
}

#[test]
fn bundles_share_data_backbone_order_and_epochs() {
    let plan = grid(
        "loss = ['bce', 'focal']\nsampler = ['shuffle', 'class_aware']\nseed = [0, 1]\n\"train.learning_rate\" = [1e-3, 1e-4]\n\"train.epochs\" = [1, 2]",
    );
    assert_eq!((plan.runs.len(), plan.bundles.len()), (32, 8));
    assert!(plan.bundles.iter().all(|bundle| bundle.runs.len() == 4));
    for (at, bundle) in plan.bundles.iter().enumerate() {
        assert!(bundle.runs.iter().all(|&run| plan.runs[run].bundle == at));
    }
}

#[test]
fn weights_the_data_does_not_allow_name_place_and_label() {
    let plan = |text: &str, positives: Vec<usize>| {
        let train = LabelCounts::new(100, positives);
        let sweep = parse("f", &format!("{MINIMAL}[grid]\npos_weight = {text}"), &[]).unwrap();
        sweep.plan(&[DataFacts { train, ..facts() }], &BTreeMap::new()).unwrap_err().to_string()
    };
    let message = plan("['none', 'sqrt']", vec![5, 0, 5, 5]);
    assert!(message.starts_with("f:4:23: ") && message.contains("label \"B\" has no positive"), "{message}");
    let message = plan("[[1, 2]]", vec![5; 4]);
    assert!(message.starts_with("f:4:15: ") && message.contains("4 labels"), "{message}");
}

#[test]
#[ignore = "prints a time: cargo test --release --lib spec -- --ignored --nocapture"]
fn a_hundred_thousand_points_plan_in_about_a_second() {
    let rates: Vec<_> = (1..=250).map(|step| format!("{}e-5", step)).collect();
    let text = format!(
        "{MINIMAL}[grid]\nloss = ['bce', 'focal']\ngamma = [1, 2]\npos_weight = ['none', 'sqrt', 'neg_over_pos', 'inverse_share', [1, 2, 3, 4]]\n\
         sampler = ['shuffle', 'class_aware']\nthreshold = [0.5, 'max_f1']\nseed = [0,1,2,3,4,5,6,7,8,9]\n\"train.learning_rate\" = [{}]\n",
        rates.join(",")
    );
    let start = std::time::Instant::now();
    let plan = planned(&text);
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!((plan.points.len(), plan.runs.len()), (100_000, 37_500));
    println!("{seconds:.2} s");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", set in "\\PC{0,60}") {
        let _ = parse("f", &text, &[]);
        let _ = parse("f", MINIMAL, &[set]);
    }

    #[test]
    fn no_toml_makes_it_panic(
        lines in prop::collection::vec((
            prop::sample::select(vec!["[data]", "[grid]", "[train]", "[[grid.exclude]]", "[[grid.include]]", "[model]", "[workers]", "[data.split]", ""]),
            prop::sample::select(vec!["kind", "loss", "gamma", "pos_weight", "threshold", "seed", "optimizer", "train.epochs", "hidden", "label_rates", "devices", "timeout", "\"train.schedule\""]),
            prop::sample::select(vec!["1", "-1", "0.5", "nan", "[]", "[1, 'a']", "[[1,2],[3]]", "{}", "{ kind = 'focal' }", "'focal'", "true", "1979-05-27", "[{kind='asl'}]", "'letters'", "''", "9223372036854775807", "1e308"]),
        ), 0..12),
        sets in prop::collection::vec(("[a-z_.\"']{0,24}", "[a-z0-9\\[\\]{}='\", .-]{0,16}"), 0..3),
    ) {
        let mut text = MINIMAL.to_owned();
        for (table, key, value) in &lines {
            text.push_str(&format!("{table}\n{key} = {value}\n"));
        }
        let sets: Vec<_> = sets.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for sets in [&[][..], &sets] {
            if let Ok(sweep) = parse("f", &text, sets) {
                let _ = sweep.plan(&vec![facts(); sweep.data_configs().len()], &BTreeMap::new());
            }
        }
        for (_, key, value) in &lines {
            for section in ["", "data.", "train.", "model.", "grid.", "workers."] {
                let _ = parse("f", MINIMAL, &[format!("{section}{key}={value}")]);
            }
        }
    }
}

#[test]
fn references_are_a_pair_for_each_matrix_of_features() {
    let names = |plan: &Plan| -> Vec<(String, Vec<String>)> {
        let references = plan.runs.iter().filter(|run| run.config.reference().is_some());
        references.map(|run| (run.name.loss.clone(), run.name.params.values().map(ToString::to_string).collect())).collect()
    };
    let none: [String; 0] = [];
    let plan = planned(&format!("{FEATURES}[grid]\nloss = ['bce', 'focal']\nseed = [0, 1]\n'model.dropout' = [0.0, 0.5]"));
    assert_eq!((plan.points.len(), plan.runs.len(), plan.references(), plan.bundles.len()), (8, 10, 2, 6));
    assert_eq!(names(&plan), [("logistic".to_owned(), none.to_vec()), ("logistic_balanced".to_owned(), none.to_vec())]);
    assert!(plan.points.iter().all(|&run| plan.runs[run].config.reference().is_none()));
    assert!(plan.runs.iter().all(|run| run.config.reference().is_none() || !run.config.in_one_pass()));
    let last = plan.runs.last().unwrap();
    assert_eq!((last.bundle, plan.bundles.last().unwrap().runs.clone()), (5, vec![9]));
    assert_eq!((last.config.seed, last.config.model.arch.as_str(), last.config.model.dropout), (0, "linear", 0.0));
    // The network above the features does not matter, the network below them does.
    let mlp = planned(&FEATURES.replace("mlp", "linear"));
    assert_eq!(mlp.runs.last().unwrap().fingerprint, last.fingerprint);
    let frozen = "[data]\nkind = 'letters'\n[model]\narch = 'resnet18'\nfreeze = 'backbone'\nweights = 'w'\n[grid]\n\
                  'model.weights' = ['v', 'w']\n'model.hidden' = [[], [8]]\n";
    let plan = planned(frozen);
    assert_eq!((plan.runs.len(), plan.references()), (8, 4));
    let weights: Vec<_> = names(&plan).into_iter().map(|(_, params)| params).collect();
    assert_eq!(weights, [["\"v\""], ["\"v\""], ["\"w\""], ["\"w\""]]);
    // Trained from scratch, or left out.
    assert_eq!(planned("[data]\nkind = 'letters'\n[model]\narch = 'linear'\n").references(), 0);
    let without = planned(&format!("{FEATURES}[train]\nreference = false"));
    assert_eq!((without.references(), &without.runs[0].fingerprint), (0, &planned(FEATURES).runs[0].fingerprint));
    let message = error(&format!("{FEATURES}[grid]\n'train.reference' = [true, false]"), &[]);
    assert!(message.contains("train.reference"), "{message}");
}

const SEARCHED: &str =
    "[grid]\nloss = ['bce', 'focal', 'asl', 'hill']\npos_weight = ['none', 'sqrt']\nthreshold = [0.5, 0.3]\nseed = [0, 1, 2]\n";

#[test]
fn a_budget_in_runs_draws_whole_strategies() {
    let whole = planned(&format!("{FEATURES}{SEARCHED}"));
    assert_eq!((whole.search.as_ref(), whole.of_grid().count(), whole.references()), (None, 24, 2));
    let drawn = |search: &str| planned(&format!("{FEATURES}{SEARCHED}[search]\n{search}\n"));
    for (budget, strategies) in [(3, 1), (5, 1), (10, 3), (20, 6), (24, 8), (1000, 8)] {
        for kind in ["random", "asha"] {
            let plan = drawn(&format!("kind = '{kind}'\nbudget = {budget}"));
            let searched = plan.search.as_ref().unwrap();
            assert_eq!((searched.strategies, searched.runs, searched.drawn), (8, 24, strategies), "{budget}");
            assert_eq!((plan.of_grid().count(), plan.references()), (3 * strategies, 2), "references are always trained");
            assert_eq!(plan.points.iter().collect::<std::collections::BTreeSet<_>>().len(), 3 * strategies);
            let known = |run: &&PlannedRun| whole.runs.iter().any(|other| other.fingerprint == run.fingerprint);
            assert!(plan.runs.iter().all(|run| known(&run)), "a run's name does not depend on the search");
            for (at, bundle) in plan.bundles.iter().enumerate() {
                assert!(!bundle.runs.is_empty() && bundle.runs.iter().all(|&run| plan.runs[run].bundle == at));
            }
            assert_eq!(plan.bundles.iter().map(|bundle| bundle.runs.len()).sum::<usize>(), plan.runs.len());
        }
    }
    let names = |plan: &Plan| plan.runs.iter().map(|run| run.fingerprint.clone()).collect::<Vec<_>>();
    let [one, again, other] = [0, 0, 1].map(|seed| names(&drawn(&format!("kind = 'random'\nbudget = 9\nseed = {seed}"))));
    assert!(one == again && one != other);
    // A time, or none, takes all of it; so does what stands beside `grid`.
    for search in ["kind = 'random'\nbudget = '1h30m'", "kind = 'asha'", "kind = 'grid'\nmin = 3\nbudget = 7"] {
        assert_eq!(names(&drawn(search)), names(&whole), "{search}");
    }
}

/// All candidates of a strategy belong to it.
#[test]
fn a_strategy_is_drawn_with_what_is_tuned() {
    let text = format!(
        "{FEATURES}[train]\ntune = {{ 'train.learning_rate' = [1e-3, 1e-2] }}\n{SEARCHED}[search]\nkind = 'random'\n\
         budget = 30\n"
    );
    let plan = planned(&text);
    assert_eq!(
        (plan.search.as_ref().map(|searched| (searched.strategies, searched.drawn)), plan.of_grid().count()),
        (Some((8, 5)), 30)
    );
}
