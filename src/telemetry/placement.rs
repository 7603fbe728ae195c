//! The label of a placement. The code is chosen by the sender, so only documented codes are labels
//! of their own; the two families whose codes hold a name or number are folded, the rest is `other`.

use std::sync::LazyLock;

use hashbrown::HashMap;

const LABELS: [&str; 87] = [
    "BIZPROC_ACTIVITY_PROPERTIES_DIALOG",
    "BI_ANALYTICS_MENU",
    "CALENDAR_GRIDVIEW",
    "CALL_CARD",
    "CONTACT_CENTER",
    "CRM_ACTIVITY_LIST_MENU",
    "CRM_ANALYTICS_MENU",
    "CRM_ANALYTICS_TOOLBAR",
    "CRM_BANK_DETAIL_AUTOCOMPLETE",
    "CRM_COMPANY_DETAIL_ACTIVITY",
    "CRM_COMPANY_DETAIL_TAB",
    "CRM_COMPANY_DETAIL_TOOLBAR",
    "CRM_COMPANY_DOCUMENTGENERATOR_BUTTON",
    "CRM_COMPANY_LIST_MENU",
    "CRM_COMPANY_LIST_TOOLBAR",
    "CRM_CONTACT_DETAIL_ACTIVITY",
    "CRM_CONTACT_DETAIL_TAB",
    "CRM_CONTACT_DETAIL_TOOLBAR",
    "CRM_CONTACT_DOCUMENTGENERATOR_BUTTON",
    "CRM_CONTACT_LIST_MENU",
    "CRM_CONTACT_LIST_TOOLBAR",
    "CRM_DEAL_ACTIVITY_TIMELINE_MENU",
    "CRM_DEAL_DETAIL_ACTIVITY",
    "CRM_DEAL_DETAIL_TAB",
    "CRM_DEAL_DETAIL_TOOLBAR",
    "CRM_DEAL_DOCUMENTGENERATOR_BUTTON",
    "CRM_DEAL_LIST_MENU",
    "CRM_DEAL_LIST_TOOLBAR",
    "CRM_DEAL_ROBOT_DESIGNER_TOOLBAR",
    "CRM_DETAIL_SEARCH",
    "CRM_FUNNELS_TOOLBAR",
    "CRM_LEAD_ACTIVITY_TIMELINE_MENU",
    "CRM_LEAD_DETAIL_ACTIVITY",
    "CRM_LEAD_DETAIL_TAB",
    "CRM_LEAD_DETAIL_TOOLBAR",
    "CRM_LEAD_DOCUMENTGENERATOR_BUTTON",
    "CRM_LEAD_LIST_MENU",
    "CRM_LEAD_LIST_TOOLBAR",
    "CRM_LEAD_ROBOT_DESIGNER_TOOLBAR",
    "CRM_ORDER_DETAIL_ACTIVITY",
    "CRM_ORDER_DETAIL_TAB",
    "CRM_ORDER_LIST_TOOLBAR",
    "CRM_QUOTE_ACTIVITY_TIMELINE_MENU",
    "CRM_QUOTE_DETAIL_ACTIVITY",
    "CRM_QUOTE_DETAIL_TAB",
    "CRM_QUOTE_DETAIL_TOOLBAR",
    "CRM_QUOTE_DOCUMENTGENERATOR_BUTTON",
    "CRM_QUOTE_LIST_MENU",
    "CRM_QUOTE_LIST_TOOLBAR",
    "CRM_REQUISITE_AUTOCOMPLETE",
    "CRM_SMART_INVOICE_ACTIVITY_TIMELINE_MENU",
    "CRM_SMART_INVOICE_DETAIL_ACTIVITY",
    "CRM_SMART_INVOICE_DETAIL_TAB",
    "CRM_SMART_INVOICE_DETAIL_TOOLBAR",
    "CRM_SMART_INVOICE_DOCUMENTGENERATOR_BUTTON",
    "CRM_SMART_INVOICE_FUNNELS_TOOLBAR",
    "CRM_SMART_INVOICE_LIST_MENU",
    "CRM_SMART_INVOICE_LIST_TOOLBAR",
    "CRM_SMART_INVOICE_ROBOT_DESIGNER_TOOLBAR",
    "DEFAULT",
    "IMMOBILE_CONTEXT_MENU",
    "IM_CONTEXT_MENU",
    "IM_NAVIGATION",
    "IM_SIDEBAR",
    "IM_TEXTAREA",
    "LANDING_SETTINGS",
    "LEFT_MENU",
    "PAGE_BACKGROUND_WORKER",
    "REST_APP_URI",
    "SETTING_CONNECTOR",
    "SONET_GROUP_DETAIL_TAB",
    "SONET_GROUP_ROBOT_DESIGNER_TOOLBAR",
    "SONET_GROUP_TOOLBAR",
    "TASK_GROUP_LIST_TOOLBAR",
    "TASK_LIST_CONTEXT_MENU",
    "TASK_ROBOT_DESIGNER_TOOLBAR",
    "TASK_USER_LIST_TOOLBAR",
    "TASK_VIEW_SIDEBAR",
    "TASK_VIEW_TAB",
    "TASK_VIEW_TOP_PANEL",
    "TELEPHONY_ANALYTICS_MENU",
    "USERFIELD_TYPE",
    "USER_PROFILE_MENU",
    "USER_PROFILE_TOOLBAR",
    // No codes, but what is made of codes.
    "CRM_DYNAMIC",
    "LANDING_BLOCK",
    "other",
];

/// What the metrics call a placement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlacementLabel(u8);

impl PlacementLabel {
    /// Every one.
    pub const ALL: [PlacementLabel; LABELS.len()] = {
        let mut all = [PlacementLabel(0); LABELS.len()];
        let mut rest: &mut [PlacementLabel] = &mut all;
        let mut number = 0;
        while let [first, others @ ..] = rest {
            *first = PlacementLabel(number);
            number += 1;
            rest = others;
        }
        all
    };

    /// The label of a code.
    pub fn of(code: &str) -> PlacementLabel {
        static KNOWN: LazyLock<HashMap<&str, PlacementLabel>> = LazyLock::new(|| {
            let [codes @ .., _, _, _] = LABELS;
            codes.into_iter().zip(PlacementLabel::ALL).collect()
        });
        let is_numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
        let [.., dynamic, landing_block, other] = PlacementLabel::ALL;
        if let Some(known) = KNOWN.get(code) {
            *known
        } else if code.strip_prefix("CRM_DYNAMIC_").is_some_and(is_numbered) {
            dynamic
        } else if code.starts_with("LANDING_BLOCK_") {
            landing_block
        } else {
            other
        }
    }

    /// Its place among all.
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// As it stands in the metrics.
    pub fn text(self) -> &'static str {
        LABELS.get(self.index()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documented_codes_are_labels_and_families_are_folded() {
        let [codes @ .., _, _, _] = LABELS;
        assert!(codes.is_sorted_by(|a, b| a < b));
        for code in codes {
            assert_eq!(PlacementLabel::of(code).text(), code);
        }
        for (code, want) in [
            ("CRM_DYNAMIC_128_DETAIL_TAB", "CRM_DYNAMIC"),
            ("CRM_DYNAMIC_X", "other"),
            ("CRM_DYNAMIC", "other"),
            ("LANDING_BLOCK_*", "LANDING_BLOCK"),
            ("LANDING_BLOCK", "other"),
            ("contact_center", "other"),
            ("other", "other"),
            ("", "other"),
        ] {
            assert_eq!(PlacementLabel::of(code).text(), want, "{code}");
        }
        assert_eq!(PlacementLabel::ALL.map(PlacementLabel::text), LABELS);
    }
}
