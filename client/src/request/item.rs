//! One item: to put, get, update and delete it.

use stator_model::api::{DeleteItem, GetItem, Names, PutItem, ReturnValues, UpdateItem, Values};
use stator_model::{AttributeValue, EncodedItem, Item};

use super::{builder, decoded, setters};
use crate::Client;
use crate::error::Result;

impl Client {
    /// Writes a whole item, in place of the one with its key.
    pub fn put_item(&self) -> PutItemBuilder {
        PutItemBuilder::new(self, PutToBe::default())
    }

    /// Reads an item.
    pub fn get_item(&self) -> GetItemBuilder {
        GetItemBuilder::new(self, GetItem { consistent_read: true, ..GetItem::default() })
    }

    /// Changes attributes of an item, or makes it.
    pub fn update_item(&self) -> UpdateItemBuilder {
        UpdateItemBuilder::new(self, UpdateItem::default())
    }

    /// Deletes an item.
    pub fn delete_item(&self) -> DeleteItemBuilder {
        DeleteItemBuilder::new(self, DeleteItem::default())
    }
}

/// What a write answers.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use stator_client::{KeyType, ReturnValues};
///
/// # let client = stator::in_memory().await?.client();
/// # let music = client.create_table().table_name("music");
/// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
/// # client.wait_until_active("music").await?;
/// let put = |plays: i32| {
///     let put = client.put_item().table_name("music").item("artist", "Acme").item("song", "Happy Day");
///     put.item("plays", plays).return_values(ReturnValues::AllOld).send()
/// };
/// assert_eq!(put(1).await?.attributes, None);
/// let old = put(2).await?.attributes.unwrap_or_default();
/// assert_eq!(old["plays"], 1.into());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WriteOutput {
    /// What `return_values` asked for, if there is anything of it.
    pub attributes: Option<Item>,
}

/// What GetItem answers.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GetItemOutput {
    /// The item, if there is one; with a projection that names nothing of it, an empty one.
    pub item: Option<Item>,
}

/// A PutItem whose item is still being put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct PutToBe {
    table_name: String,
    item: Item,
    condition_expression: Option<String>,
    expression_attribute_names: Names,
    expression_attribute_values: Values,
    return_values: ReturnValues,
    return_old_on_condition_failure: bool,
}

builder! {
    /// Writes a whole item, in place of the one with its key.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::KeyType;
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # let music = client.create_table().table_name("music");
    /// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
    /// # client.wait_until_active("music").await?;
    /// let put = client
    ///     .put_item()
    ///     .table_name("music")
    ///     .item("artist", "No One You Know")
    ///     .item("song", "Call Me Today")
    ///     .item("year", 1971)
    ///     .condition_expression("attribute_not_exists(artist)");
    /// put.clone().send().await?;
    /// // The condition is judged on the item that is there, and nothing is written.
    /// let refused = put.send().await.expect_err("it is there now");
    /// assert!(refused.is_conditional_check_failed() && !refused.is_uncertain());
    /// # Ok(())
    /// # }
    /// ```
    PutItemBuilder of PutToBe
}

impl PutItemBuilder {
    setters! { table_name condition names values returns }

    /// Adds an attribute of the item.
    pub fn item(mut self, name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.request.item.insert(name.into(), value.into());
        self
    }

    /// The item, such as [`to_item`](crate::to_item) makes of any serializable value.
    pub fn set_item(mut self, item: Item) -> Self {
        self.request.item = item;
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// `ConditionalCheckFailedException` if the condition did not hold; an uncertain one if the item may have been
    /// written.
    pub async fn send(self) -> Result<WriteOutput> {
        let put = self.request;
        let request = PutItem {
            table_name: put.table_name,
            item: EncodedItem::encode(&put.item),
            condition_expression: put.condition_expression,
            expression_attribute_names: put.expression_attribute_names,
            expression_attribute_values: put.expression_attribute_values,
            return_values: put.return_values,
            return_old_on_condition_failure: put.return_old_on_condition_failure,
        };
        let answer = self.client.call(request, self.settings).await?;
        Ok(WriteOutput { attributes: decoded(answer.attributes)? })
    }
}

builder! {
    /// Reads an item.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::{Item, KeyType};
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # let music = client.create_table().table_name("music");
    /// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
    /// # client.wait_until_active("music").await?;
    /// # let put = client.put_item().table_name("music").item("artist", "Acme").item("song", "Happy Day");
    /// # put.item("plays", 3).item("tags", "pop").send().await?;
    /// let get = client.get_item().table_name("music").key("artist", "Acme");
    /// let got = get.clone().key("song", "Happy Day").projection_expression("plays").send().await?;
    /// assert_eq!(got.item, Some(Item::from([("plays".to_owned(), 3.into())])));
    /// let got = get.key("song", "Sad Day").send().await?;
    /// assert_eq!(got.item, None);
    /// # Ok(())
    /// # }
    /// ```
    GetItemBuilder of GetItem
}

impl GetItemBuilder {
    setters! { table_name key projection names consistent_read }

    /// Sends the request.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if there is no such table.
    pub async fn send(self) -> Result<GetItemOutput> {
        let answer = self.client.call(self.request, self.settings).await?;
        Ok(GetItemOutput { item: decoded(answer.item)? })
    }
}

builder! {
    /// Changes attributes of an item, or makes it.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::{KeyType, ReturnValues};
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # let music = client.create_table().table_name("music");
    /// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
    /// # client.wait_until_active("music").await?;
    /// let play = client
    ///     .update_item()
    ///     .table_name("music")
    ///     .key("artist", "Acme")
    ///     .key("song", "Happy Day")
    ///     .update_expression("SET plays = if_not_exists(plays, :none) + :one")
    ///     .expression_attribute_values(":none", 0)
    ///     .expression_attribute_values(":one", 1)
    ///     .return_values(ReturnValues::UpdatedNew);
    /// play.clone().send().await?;
    /// let played = play.send().await?.attributes.unwrap_or_default();
    /// assert_eq!(played["plays"], 2.into());
    /// # Ok(())
    /// # }
    /// ```
    UpdateItemBuilder of UpdateItem
}

impl UpdateItemBuilder {
    setters! { table_name key condition names values returns }

    /// What to change; unless set, the item is only made if it is absent.
    pub fn update_expression(mut self, text: impl Into<String>) -> Self {
        self.request.update_expression = Some(text.into());
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// `ConditionalCheckFailedException` if the condition did not hold; an uncertain one if the item may have been
    /// changed.
    pub async fn send(self) -> Result<WriteOutput> {
        let answer = self.client.call(self.request, self.settings).await?;
        Ok(WriteOutput { attributes: decoded(answer.attributes)? })
    }
}

builder! {
    /// Deletes an item.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use stator_client::{KeyType, ReturnValues};
    ///
    /// # let client = stator::in_memory().await?.client();
    /// # let music = client.create_table().table_name("music");
    /// # music.partition_key("artist", KeyType::S).sort_key("song", KeyType::S).send().await?;
    /// # client.wait_until_active("music").await?;
    /// # let put = client.put_item().table_name("music").item("artist", "Acme").item("song", "Happy Day");
    /// # put.item("plays", 3).send().await?;
    /// let delete = client
    ///     .delete_item()
    ///     .table_name("music")
    ///     .key("artist", "Acme")
    ///     .key("song", "Happy Day")
    ///     .return_values(ReturnValues::AllOld);
    /// let deleted = delete.clone().send().await?.attributes.unwrap_or_default();
    /// assert_eq!(deleted["plays"], 3.into());
    /// // To delete what is not there is no error, unless a condition asks for it.
    /// assert_eq!(delete.clone().send().await?.attributes, None);
    /// let refused = delete.condition_expression("attribute_exists(artist)").send().await;
    /// assert!(refused.expect_err("it is gone").is_conditional_check_failed());
    /// # Ok(())
    /// # }
    /// ```
    DeleteItemBuilder of DeleteItem
}

impl DeleteItemBuilder {
    setters! { table_name key condition names values returns }

    /// Sends the request.
    ///
    /// # Errors
    /// `ConditionalCheckFailedException` if the condition did not hold; an uncertain one if the item may have been
    /// deleted.
    pub async fn send(self) -> Result<WriteOutput> {
        let answer = self.client.call(self.request, self.settings).await?;
        Ok(WriteOutput { attributes: decoded(answer.attributes)? })
    }
}
