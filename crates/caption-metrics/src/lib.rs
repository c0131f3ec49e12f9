//! The scores that image captions are compared by, equal to coco-caption's.

pub mod ptb;
