//! The label of a placement. The code is chosen by the sender, so only documented codes are labels
//! of their own; the two families whose codes hold a name or number are folded, the rest is `other`.

const PLACEMENTS: [&str; 84] = [
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
];
const DYNAMIC: &str = "CRM_DYNAMIC";
const LANDING_BLOCK: &str = "LANDING_BLOCK";
const OTHER: &str = "other";

/// Every label.
pub fn labels() -> impl Iterator<Item = &'static str> {
    PLACEMENTS.into_iter().chain([DYNAMIC, LANDING_BLOCK, OTHER])
}

/// The label of a code.
pub fn label(code: &str) -> &'static str {
    if let Ok(at) = PLACEMENTS.binary_search(&code) {
        return PLACEMENTS.get(at).copied().unwrap_or(OTHER);
    }
    if code
        .strip_prefix("CRM_DYNAMIC_")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        DYNAMIC
    } else if code.starts_with("LANDING_BLOCK_") {
        LANDING_BLOCK
    } else {
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_families_folded() {
        assert!(PLACEMENTS.is_sorted());
        for (code, want) in [
            ("CONTACT_CENTER", "CONTACT_CENTER"),
            ("CRM_DYNAMIC_128_DETAIL_TAB", "CRM_DYNAMIC"),
            ("CRM_DYNAMIC_X", "other"),
            ("LANDING_BLOCK_*", "LANDING_BLOCK"),
            ("contact_center", "other"),
        ] {
            assert_eq!(label(code), want);
        }
    }
}
