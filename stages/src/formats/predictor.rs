//! `predictor`: a folder with its cross-validation, `report.json`, and a folder named for the kind of
//! predictor, in that kind's own form.

use std::path::Path;

use climb_contract::stage::{Format, Written};

use super::{read_json, write_json};
use crate::predictor::{Fitted, Predictor, Report};

const REPORT: &str = "report.json";

impl Format for Predictor {
    const TYPE: &'static str = "predictor";

    fn read(folder: &Path) -> anyhow::Result<Predictor> {
        let report: Report = read_json(&folder.join(REPORT))?;
        let model = Fitted::load(report.predictor, &folder.join(report.predictor.name()))?;
        Ok(Predictor { report, model })
    }
}

impl Written for Predictor {
    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        write_json(&folder.join(REPORT), &self.report)?;
        self.model.save(&folder.join(self.report.predictor.name()))
    }
}
