"""May this call go, and who pays: number classes, limits, licences and policies over one directory snapshot.

Quiet room: a request, the directory and the moment come in, a verdict goes out.
"""
