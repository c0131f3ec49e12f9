//! `caption-a-photo CHECKPOINT PHOTO`

use nic_core::{BeamSearch, Captioner};

fn main() -> nic_core::Result<()> {
    let [checkpoint, photo] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| {
        nic_core::Error::Usage("usage: caption-a-photo CHECKPOINT PHOTO".into())
    })?;
    let captioner = Captioner::load(checkpoint)?; // a directory, or hf://OWNER/NAME
    for caption in captioner.caption_file(photo, &BeamSearch::new(3))? {
        println!("{:.2}  {}", caption.log_prob, caption.text);
    }
    Ok(())
}
