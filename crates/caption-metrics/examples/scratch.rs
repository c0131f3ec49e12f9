use std::io::*;
fn main() {
    let mut s = String::new();
    stdin().read_to_string(&mut s).unwrap();
    let t = std::time::Instant::now();
    caption_metrics::ptb::tokenize("a");
    eprintln!("start {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let v: Vec<Vec<String>> = s.split('\n').map(caption_metrics::ptb::tokenize).collect();
    eprintln!("{:?} {}", t.elapsed(), v.iter().map(Vec::len).sum::<usize>());
    let mut o = BufWriter::new(stdout());
    for l in v {
        writeln!(o, "{}", l.join(" ")).unwrap();
    }
}
