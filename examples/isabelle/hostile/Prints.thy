(* Says 100 MB. *)
theory Prints imports Try begin
ML ‹
val line = CharVector.tabulate (1024 * 1024, fn _ => #"x");
fun say 0 = () | say n = (writeln line; say (n - 1));
val () = say 100;
›
end
