theory Twice imports Main
begin

ML ‹fun twice n = n + n›

end
