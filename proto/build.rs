//! Compiles the .proto files, without protoc.
//!
//! The descriptor set is made once and used twice. As it is, it becomes `FILE_DESCRIPTOR_SET`, which reflection shows to
//! the world. For the generated code every field of type `stator.v1.Item` is turned into `bytes` first: a message and
//! bytes look the same on the wire, so a node can answer stored items without decoding them. A lone field also becomes
//! `optional`, for otherwise an absent item and an empty one would be the same zero bytes.

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet, OneofDescriptorProto};

const FILES: [&str; 2] = ["stator/v1/stator.proto", "stator/peer/v1/peer.proto"];
const ITEM: &str = ".stator.v1.Item";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    let root = Path::new("proto");
    // Source information carries the comments, which become the generated code's documentation; reflection has no use
    // for it.
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let mut files = compiler.file_descriptor_set();

    let mut shown = files.clone();
    for file in &mut shown.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("stator_descriptor_set.bin"), shown.encode_to_vec())?;

    carry_items_as_bytes(&mut files);
    let grpc = env::var_os("CARGO_FEATURE_GRPC").is_some();
    let generator = tonic_prost_build::configure().build_client(grpc).build_server(grpc);
    generator.bytes(".").btree_map(".").compile_fds(files)?;
    Ok(())
}

fn carry_items_as_bytes(files: &mut FileDescriptorSet) {
    for message in files.file.iter_mut().flat_map(|file| &mut file.message_type) {
        rewrite(message);
    }
}

fn rewrite(message: &mut DescriptorProto) {
    for field in message.field.iter_mut().filter(|field| field.type_name() == ITEM) {
        field.set_type(Type::Bytes);
        field.type_name = None;
        if field.label() != Label::Repeated && field.oneof_index.is_none() {
            // How descriptors spell `optional`: a oneof of one, behind all others.
            field.proto3_optional = Some(true);
            field.oneof_index = i32::try_from(message.oneof_decl.len()).ok();
            message.oneof_decl.push(OneofDescriptorProto {
                name: Some(format!("_{}", field.name())),
                options: None,
            });
        }
    }
    for nested in &mut message.nested_type {
        rewrite(nested);
    }
}
