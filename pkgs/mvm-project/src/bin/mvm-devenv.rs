fn main(){
 let p = mvm_project::detect::detect(std::path::Path::new(&std::env::args().nth(1).unwrap())).unwrap();
 println!("{}", serde_json::to_string_pretty(&p).unwrap());
}
