"""What jobs of several types use besides their args; `openers` says how a job type asks for it.

Nothing is imported here: an opener named like its module would be hidden by it as soon as somebody imports the module.
"""
