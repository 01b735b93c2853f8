//! Compressed kernels and modules.

use std::borrow::Cow;
use std::io::Read;

/// Most bytes that anything may unpack to: a kernel with all its debug information is smaller.
const LIMIT: u64 = 1 << 30;
/// Bytes that a block of the legacy LZ4 format unpacks to at most
/// (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>, "Legacy frame").
const LZ4_LEGACY_BLOCK: usize = 8 << 20;

/// `data` unpacked, by the format that its first bytes tell; as it is when they tell none.
pub fn decompress(data: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let unpacked = match data {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let mut unpacked = Vec::new();
            lzma_rs::xz_decompress(&mut &*data, &mut unpacked).map_err(|error| format!("xz: {error}"))?;
            unpacked
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new(data).map_err(|error| format!("zstd: {error}"))?;
            read(decoder, "zstd")?
        }
        [0x1f, 0x8b, ..] => read(flate2::read::GzDecoder::new(data), "gzip")?,
        [0x02, 0x21, 0x4c, 0x18, blocks @ ..] => lz4_legacy(blocks)?,
        _ => return Ok(Cow::Borrowed(data)),
    };
    Ok(Cow::Owned(unpacked))
}

fn read(decoder: impl Read, format: &str) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    decoder.take(LIMIT).read_to_end(&mut unpacked).map_err(|error| format!("{format}: {error}"))?;
    Ok(unpacked)
}

/// Blocks of a little-endian length and as many bytes. The kernel's build appends the unpacked size, which looks like
/// a length, so the last four bytes are no block.
fn lz4_legacy(mut blocks: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let mut block = vec![0; LZ4_LEGACY_BLOCK];
    while let Some((length, rest)) = blocks.split_first_chunk() {
        let Some((packed, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        if packed.is_empty() {
            break;
        }
        let length =
            lz4_flex::block::decompress_into(packed, &mut block).map_err(|error| format!("lz4: {error}"))?;
        unpacked.extend_from_slice(block.get(..length).unwrap_or_default());
        blocks = rest;
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn sample() -> Vec<u8> {
        (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect()
    }

    #[test]
    fn what_is_not_compressed_stays() {
        assert_eq!(decompress(b"\x7fELF").unwrap(), &b"\x7fELF"[..]);
        assert_eq!(decompress(b"").unwrap(), &b""[..]);
    }

    #[test]
    fn every_format_unpacks() {
        let mut xz = Vec::new();
        lzma_rs::xz_compress(&mut sample().as_slice(), &mut xz).unwrap();
        assert_eq!(decompress(&xz).unwrap(), sample());

        let zstd = ruzstd::encoding::compress_to_vec(&*sample(), ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(decompress(&zstd).unwrap(), sample());

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&sample()).unwrap();
        assert_eq!(decompress(&gzip.finish().unwrap()).unwrap(), sample());
    }

    #[test]
    fn lz4_of_kernels_unpacks_block_by_block_without_the_size_at_its_end() {
        let mut lz4 = vec![0x02, 0x21, 0x4c, 0x18];
        for part in sample().chunks(150_000) {
            let packed = lz4_flex::block::compress(part);
            lz4.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
            lz4.extend_from_slice(&packed);
        }
        lz4.extend_from_slice(&400_000_u32.to_le_bytes());
        assert_eq!(decompress(&lz4).unwrap(), sample());
    }

    #[test]
    fn damage_is_an_error_that_names_the_format() {
        assert!(decompress(b"\xfd7zXZ\0nonsense").unwrap_err().starts_with("xz"));
        assert!(decompress(b"\x28\xb5\x2f\xfdnonsense").unwrap_err().starts_with("zstd"));
        assert!(decompress(b"\x1f\x8bnonsense").unwrap_err().starts_with("gzip"));
    }
}
