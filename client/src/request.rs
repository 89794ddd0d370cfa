//! Fluent requests: `client.put_item().table_name("t").item("id", 7).send().await`. One file per family of operations.
//!
//! A builder holds a typed request of [`stator_model::api`] and fills it in; what is wrong with it is found when it is
//! sent, by the database, in its words. Setters named after a list or map of the request add to it, those that begin with
//! `set_` put another in its place.

pub mod batch;
pub mod item;
pub mod read;
pub mod table;

/// Defines a builder: its struct, how it is begun, and the settings of a call.
macro_rules! builder {
    ($(#[$doc:meta])* $builder:ident of $request:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "a request does nothing until it is sent"]
        pub struct $builder {
            pub(crate) client: $crate::Client,
            pub(crate) settings: $crate::client::CallSettings,
            pub(crate) request: $request,
        }

        impl $builder {
            pub(crate) fn new(client: &$crate::Client, request: $request) -> Self {
                Self {
                    client: client.clone(),
                    settings: $crate::client::CallSettings::default(),
                    request,
                }
            }

            /// How long the call may take, with all of its attempts; the client's timeout unless set.
            pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
                self.settings.timeout = Some(timeout);
                self
            }
        }
    };
}

/// Setters that several requests share, by the name of what they set.
macro_rules! setters {
    ($($group:ident)*) => { $($crate::request::setters! { @$group })* };
    (@table_name) => {
        /// The table's name.
        pub fn table_name(mut self, name: impl Into<String>) -> Self {
            self.request.table_name = name.into();
            self
        }
    };
    (@key) => {
        /// Adds an attribute of the item's primary key.
        pub fn key(
            mut self,
            name: impl Into<String>,
            value: impl Into<stator_model::AttributeValue>,
        ) -> Self {
            self.request.key.insert(name.into(), value.into());
            self
        }

        /// The item's primary key.
        pub fn set_key(mut self, key: stator_model::Item) -> Self {
            self.request.key = key;
            self
        }
    };
    (@condition) => {
        /// The condition under which to write.
        pub fn condition_expression(mut self, text: impl Into<String>) -> Self {
            self.request.condition_expression = Some(text.into());
            self
        }
    };
    (@names) => {
        /// Adds what a `#name` of the expressions stands for.
        pub fn expression_attribute_names(
            mut self,
            name: impl Into<String>,
            attribute: impl Into<String>,
        ) -> Self {
            self.request.expression_attribute_names.insert(name.into(), attribute.into());
            self
        }

        /// What all the `#names` of the expressions stand for.
        pub fn set_expression_attribute_names(mut self, names: stator_model::api::Names) -> Self {
            self.request.expression_attribute_names = names;
            self
        }
    };
    (@values) => {
        /// Adds what a `:value` of the expressions stands for.
        pub fn expression_attribute_values(
            mut self,
            name: impl Into<String>,
            value: impl Into<stator_model::AttributeValue>,
        ) -> Self {
            self.request.expression_attribute_values.insert(name.into(), value.into());
            self
        }

        /// What all the `:values` of the expressions stand for.
        pub fn set_expression_attribute_values(
            mut self,
            values: stator_model::api::Values,
        ) -> Self {
            self.request.expression_attribute_values = values;
            self
        }
    };
    (@returns) => {
        /// What to answer of the item: nothing unless set.
        pub fn return_values(mut self, values: stator_model::api::ReturnValues) -> Self {
            self.request.return_values = values;
            self
        }

        /// Whether a failed condition answers the item that it was judged on, as the error's `item`.
        pub fn return_old_on_condition_failure(mut self, answer: bool) -> Self {
            self.request.return_old_on_condition_failure = answer;
            self
        }

        /// Whether this write is sent again when it may have been applied: right if applying it twice does no harm,
        /// whatever others write between. The client's policy decides unless set.
        pub fn resend_uncertain(mut self, resend: bool) -> Self {
            self.settings.resend_uncertain = Some(resend);
            self
        }
    };
    (@projection) => {
        /// The attributes to answer; all unless set.
        pub fn projection_expression(mut self, text: impl Into<String>) -> Self {
            self.request.projection_expression = Some(text.into());
            self
        }
    };
    (@consistent_read) => {
        /// Whether the read must see every write that was answered before it: true unless set, other than in DynamoDB's
        /// own clients. Reads that need not may be served by any replica.
        pub fn consistent_read(mut self, consistent: bool) -> Self {
            self.request.consistent_read = consistent;
            self
        }
    };
    (@page) => {
        /// Which of the items read to answer.
        pub fn filter_expression(mut self, text: impl Into<String>) -> Self {
            self.request.filter_expression = Some(text.into());
            self
        }

        /// What to answer of the items found.
        pub fn select(mut self, select: stator_model::api::Select) -> Self {
            self.request.select = Some(select);
            self
        }

        /// How many items a page reads (before the filter) at most.
        pub fn limit(mut self, items: u32) -> Self {
            self.request.limit = Some(items);
            self
        }

        /// Where to go on: the last page's `last_evaluated_key`.
        pub fn set_exclusive_start_key(mut self, key: Option<stator_model::Item>) -> Self {
            self.request.exclusive_start_key = key;
            self
        }
    };
}

pub(crate) use {builder, setters};

use stator_model::{EncodedItem, Item};

use crate::error::Result;

/// Decodes an answered item, if there is one.
fn decoded(item: Option<EncodedItem>) -> Result<Option<Item>> {
    Ok(item.map(|item| item.decode()).transpose()?)
}

/// Decodes answered items.
fn all_decoded(items: &[EncodedItem]) -> Result<Vec<Item>> {
    Ok(items.iter().map(EncodedItem::decode).collect::<stator_model::Result<_>>()?)
}
