"""What the OCI specifications say: frozen values, pure functions, no input or output.

`runtime` holds the runtime spec's config.json, `config` an image's config, `codec` turns them into
JSON and back, and `fields` has the checks that they share.  A value that exists is valid: wrong
ones are refused when they are made, by an InvalidArgument that names the field.
"""
