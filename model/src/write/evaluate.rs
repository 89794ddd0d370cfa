//! What becomes of the item: an image in, a decision out.

use super::{Action, Decision, PreparedWrite};
use crate::api::ReturnValues;
use crate::codec::EncodedItem;
use crate::error::{Error, Result};
use crate::expr::Update;
use crate::limits::ITEM_BYTES_MAX;
use crate::schema::KeySchema;
use crate::value::Item;

impl PreparedWrite {
    /// Decides what the write does to its item, which is now `old`, or absent. It is judged as an item without
    /// attributes if it is absent. `schema` is the one that the write was prepared with.
    ///
    /// # Errors
    /// `ValidationException` with DynamoDB's text if an expression does not fit the item that it meets, or the item would
    /// become too large or too deep: nothing changes then. `InternalServerError` if `old` is no item.
    pub fn evaluate(&self, schema: &KeySchema, old: Option<&EncodedItem>) -> Result<Decision> {
        let tree = if self.looks_inside() {
            old.map(EncodedItem::decode_stored).transpose()?.unwrap_or_default()
        } else {
            Item::new()
        };
        if let Some(condition) = &self.condition
            && !condition.holds(&tree)
        {
            let item = if self.return_old_on_condition_failure { old.cloned() } else { None };
            return Ok(Decision::ConditionFailed { item });
        }
        match &self.action {
            Action::Put(image) => Ok(self.put(old, image)),
            Action::Delete => Ok(self.delete(old)),
            Action::Update(update) => self.update(schema, old, tree, update.as_ref()),
        }
    }

    /// Whether the old item's attributes matter.
    const fn looks_inside(&self) -> bool {
        self.condition.is_some() || matches!(self.action, Action::Update(Some(_)))
    }

    fn put(&self, old: Option<&EncodedItem>, image: &EncodedItem) -> Decision {
        let attributes = self.old_if_asked(old);
        if old == Some(image) {
            return Decision::Unchanged { attributes };
        }
        Decision::Put { image: image.clone(), attributes }
    }

    fn delete(&self, old: Option<&EncodedItem>) -> Decision {
        let attributes = self.old_if_asked(old);
        match old {
            Some(_) => Decision::Delete { attributes },
            None => Decision::Unchanged { attributes },
        }
    }

    fn old_if_asked(&self, old: Option<&EncodedItem>) -> Option<EncodedItem> {
        match self.return_values {
            ReturnValues::AllOld => old.cloned(),
            _ => None,
        }
    }

    /// An update that sets or adds something makes the item if it is absent, and so does one that does nothing at all.
    /// One that only removes has nothing to remove it from, and makes none.
    fn update(
        &self,
        schema: &KeySchema,
        old: Option<&EncodedItem>,
        old_tree: Item,
        update: Option<&Update>,
    ) -> Result<Decision> {
        let (image, touched) = match (update, old) {
            (None, Some(old)) => (old.clone(), None),
            (None, None) => (EncodedItem::encode(&self.key.to_attributes(schema)), None),
            (Some(update), None) if !update.makes_item() => {
                return Ok(Decision::Unchanged { attributes: None });
            }
            (Some(update), _) => {
                let before = if old.is_some() { old_tree } else { self.key.to_attributes(schema) };
                let after = update.apply(&before)?;
                let touched = match self.return_values {
                    // Of an absent item that is nothing: an update names no key attributes.
                    ReturnValues::UpdatedOld => update.touched(&before),
                    ReturnValues::UpdatedNew => update.touched(&after),
                    _ => Item::new(),
                };
                let touched = (!touched.is_empty()).then(|| EncodedItem::encode(&touched));
                (EncodedItem::encode(&after), touched)
            }
        };
        if image.check()?.size > ITEM_BYTES_MAX {
            return Err(Error::validation(
                "Item size to update has exceeded the maximum allowed size",
            ));
        }
        let attributes = match self.return_values {
            ReturnValues::None => None,
            ReturnValues::AllOld => old.cloned(),
            ReturnValues::AllNew => Some(image.clone()),
            ReturnValues::UpdatedOld | ReturnValues::UpdatedNew => touched,
        };
        if old == Some(&image) {
            return Ok(Decision::Unchanged { attributes });
        }
        Ok(Decision::Put { image, attributes })
    }
}
