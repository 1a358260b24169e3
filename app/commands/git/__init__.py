"""Commands that run Git: what they do, plain Git does as well."""
