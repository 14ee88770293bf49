pub fn gather() {}
