"""Reads what a request says, and checks it: its body, its query parameters, its headers, its files.

A file here reads one thing and answers with a value, or raises the problem that the client is to see:
`enqueue_options.read` what a request asks for besides its args, `args.read` the args, `uploads` a file that comes in,
`json_body` any JSON, `waits` how long the client would wait. Nothing here puts a job or shapes an answer.
"""
