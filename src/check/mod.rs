//! One check per function, named as Barman names them.
